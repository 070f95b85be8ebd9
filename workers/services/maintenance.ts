import type { Config } from '../../src/config.ts';
import { startProbes } from '../../src/health/start-probes.ts';
import type { Service } from '../../src/lifecycle/service.ts';
import { startWithProbes } from '../../src/lifecycle/with-probes.ts';
import type { Logger } from '../../src/log.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { MaintenanceMetrics } from '../../src/metrics/maintenance-metrics.ts';
import { createRegistry } from '../../src/metrics/registry.ts';

export function start(config: Config, log: Logger): Promise<Service> {
  const registry = createRegistry('maintenance');
  const metrics = new MaintenanceMetrics(registry);
  return startWithProbes(
    () => startProbes(config, log, registry, { deployment: true }),
    () => startMaintenance({}, metrics),
  );
}
