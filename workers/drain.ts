import { loadConfig } from '../src/config.ts';
import { startDrain } from '../src/drain/start-drain.ts';
import { startProbes } from '../src/health/start-probes.ts';
import { runService } from '../src/lifecycle/run-service.ts';
import { startWithProbes } from '../src/lifecycle/with-probes.ts';
import { createLogger } from '../src/log.ts';
import { DrainMetrics } from '../src/metrics/drain-metrics.ts';
import { createRegistry } from '../src/metrics/registry.ts';

const config = loadConfig();
const log = createLogger('drain', config.logLevel);
const registry = createRegistry('drain');
const metrics = new DrainMetrics(registry);

await runService(
  () =>
    startWithProbes(
      () => startProbes(config, log, registry, { deployment: false }),
      () => startDrain({}, metrics),
    ),
  log,
  config.shutdownMs,
);
