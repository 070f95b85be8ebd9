import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { VERSION } from '../version.ts';

export type MetricsRegistry = Registry;

/** An empty registry but for the version. @param processName what kind of process this is, `drain` say. */
export function createRegistry(processName: string): MetricsRegistry {
  const registry = new Registry();
  new Gauge({
    name: 'tierline_build_info',
    help: 'Always 1; the labels say which process this is and of which version',
    labelNames: ['process', 'version'],
    registers: [registry],
  }).set({ process: processName, version: VERSION }, 1);
  return registry;
}

/** prom-client's gauges that end in `_total`, which Prometheus keeps for counters: promtool refuses them. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

/** Adds the figures of the process itself: CPU, memory, event loop lag, garbage collection. They watch from now on. */
export function addProcessMetrics(registry: MetricsRegistry): void {
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
}
