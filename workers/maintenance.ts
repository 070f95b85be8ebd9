import { loadConfig } from '../src/config.ts';
import { startProbes } from '../src/health/start-probes.ts';
import { runService } from '../src/lifecycle/run-service.ts';
import { startWithProbes } from '../src/lifecycle/with-probes.ts';
import { createLogger } from '../src/log.ts';
import { startMaintenance } from '../src/maintenance/start-maintenance.ts';
import { MaintenanceMetrics } from '../src/metrics/maintenance-metrics.ts';
import { createRegistry } from '../src/metrics/registry.ts';

const config = loadConfig();
const log = createLogger('maintenance', config.logLevel);
const registry = createRegistry('maintenance');
const metrics = new MaintenanceMetrics(registry);

await runService(
  () =>
    startWithProbes(
      () => startProbes(config, log, registry, { deployment: true }),
      () => startMaintenance({}, metrics),
    ),
  log,
  config.shutdownMs,
);
