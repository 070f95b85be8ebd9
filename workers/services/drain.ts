import type { Config } from '../../src/config.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { startProbes } from '../../src/health/start-probes.ts';
import type { Service } from '../../src/lifecycle/service.ts';
import { startWithProbes } from '../../src/lifecycle/with-probes.ts';
import type { Logger } from '../../src/log.ts';
import { DrainMetrics } from '../../src/metrics/drain-metrics.ts';
import { createRegistry } from '../../src/metrics/registry.ts';

export function start(config: Config, log: Logger): Promise<Service> {
  const registry = createRegistry('drain');
  const metrics = new DrainMetrics(registry);
  return startWithProbes(
    () => startProbes(config, log, registry, { deployment: false }),
    () => startDrain({}, metrics),
  );
}
