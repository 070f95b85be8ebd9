import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { VERSION } from '../version.ts';

/** A registry with nothing but the version. @param processName what kind of process this is, `drain` for example */
export function createRegistry(processName: string): Registry {
  const registry = new Registry();
  new Gauge({
    name: 'tierline_build_info',
    help: 'Always 1; the labels say which process this is and of which version',
    labelNames: ['process', 'version'],
    registers: [registry],
  }).set({ process: processName, version: VERSION }, 1);
  return registry;
}

/** Gauges of prom-client whose names end in `_total`. Prometheus keeps that ending for counters, and promtool refuses them. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

/** Adds the figures of the process itself: CPU, memory, event loop lag, garbage collection. They are measured from now on. */
export function addProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
}

/** Upper bounds in seconds. A stage of a batch takes milliseconds, and seconds when a backend is away. */
export const STAGE_BUCKETS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

/** Upper bounds in seconds. A write settles in tens of milliseconds, and in minutes behind a backlog. */
export const SETTLE_BUCKETS = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900,
];

export function seconds(milliseconds: number): number {
  return milliseconds / 1000;
}
