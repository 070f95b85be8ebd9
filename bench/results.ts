import type { Metric } from './metric.ts';
import { formatted } from './plot.ts';

/** Where a whole run writes down what it found. */
export const RESULTS = new URL('../../bench/results/latest.json', import.meta.url);

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly node: string;
  readonly redis: string;
  readonly postgres: string;
}

/** A whole run. */
export interface Results {
  readonly date: string;
  readonly machine: Machine;
  readonly benches: readonly {
    readonly name: string;
    /** With which options it ran. */
    readonly options: string;
    readonly seconds: number;
    readonly ok: boolean;
  }[];
  readonly metrics: readonly Metric[];
}

/** Left out when its bench failed before it. */
export function metricIn({ metrics }: Results, bench: string, name: string): Metric | undefined {
  return metrics.find((metric) => metric.bench === bench && metric.metric === name);
}

/** The median and the spread, as `0.48 (0.46 to 0.50)`. */
export function measured({ value, spread }: Metric): string {
  return spread === undefined
    ? formatted(value)
    : `${formatted(value)} (${spread.map(formatted).join(' to ')})`;
}

export function machineLine({ date, machine }: Results): string {
  const { cpu, cores, memoryGib, node, redis, postgres } = machine;
  return `Measured on ${date} with ${cores} cores (${cpu}) and ${memoryGib} GiB for everything together: client, workers, ${redis}, ${postgres}; Node ${node}.`;
}
