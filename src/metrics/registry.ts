import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
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

/** Makes the instruments of one registry. */
export class Instruments {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  counter(name: string, help: string): Counter {
    return new Counter({ name, help, registers: [this.#registry] });
  }

  /** A counter with one label. Its values show from the start: a rate needs the series to exist before its first event. */
  counterBy<L extends string>(name: string, help: string, label: L, values: readonly string[]): Counter<L> {
    const counter = new Counter({ name, help, labelNames: [label], registers: [this.#registry] });
    for (const value of values) counter.labels(value).inc(0);
    return counter;
  }

  histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name, help, buckets, registers: [this.#registry] });
  }

  histogramBy<L extends string>(
    name: string,
    help: string,
    label: L,
    values: readonly string[],
  ): Histogram<L> {
    const registers = [this.#registry];
    const histogram = new Histogram({ name, help, labelNames: [label], buckets: STAGE_BUCKETS, registers });
    for (const value of values) histogram.zero({ [label]: value } as Record<L, string>);
    return histogram;
  }

  /** A gauge that is read when it is scraped, and left out while there is no figure. */
  gauge(name: string, help: string, read: () => number | undefined | Promise<number | undefined>): void {
    this.#registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        async collect() {
          const now = await read();
          if (now === undefined) this.remove();
          else this.set(now);
        },
      }),
    );
  }

  /** A counter of what somebody else counts. It is read when it is scraped. */
  total(name: string, help: string, read: () => number): void {
    this.#registry.registerMetric(
      new Counter({
        name,
        help,
        registers: [],
        collect() {
          this.reset();
          this.inc(read());
        },
      }),
    );
  }
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
