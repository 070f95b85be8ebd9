import type { Figure } from './rounds.ts';

/** What a bench prints: one line a metric. A figure of several rounds is printed with its spread. */
export type Emit = (metric: string, value: number | Figure, unit: string) => void;

export interface BenchOptions {
  /** Items to measure with, where the bench has such a size. */
  readonly items: number | undefined;
  /** How long to measure, where the bench has such a time. */
  readonly seconds: number | undefined;
  /** Folder of an earlier, built checkout to compare with, where the bench does. */
  readonly before: string | undefined;
}

export type Bench = (emit: Emit, options: BenchOptions) => Promise<void>;

/** One line of `npm run bench -- NAME --json`. */
export interface Metric {
  readonly bench: string;
  readonly metric: string;
  /** The median, when it was measured in rounds. */
  readonly value: number;
  readonly unit: string;
  /** The least and the most of the rounds. */
  readonly spread?: readonly [number, number];
}

export function metricOf(bench: string, metric: string, value: number | Figure, unit: string): Metric {
  if (typeof value === 'number') return { bench, metric, value: rounded(value), unit };
  const { median, low, high } = value;
  return { bench, metric, value: rounded(median), unit, spread: [rounded(low), rounded(high)] };
}

/** For people. */
export function metricLine({ bench, metric, value, unit, spread }: Metric): string {
  const line = `${bench.padEnd(10)} ${metric.padEnd(28)} ${String(value).padStart(12)} ${unit}`;
  return spread === undefined ? line : `${line.padEnd(64)} (${spread.join(' to ')})`;
}

function rounded(value: number): number {
  return Number.isInteger(value) ? value : Number(value.toPrecision(4));
}

export function perSecond(count: number, milliseconds: number): number {
  return Math.round((count * 1000) / milliseconds);
}

/** Runs `work` and returns what was measured of it. */
export type Measure<T> = (work: () => unknown) => Promise<T>;

/** Runs `work` and returns how many milliseconds it took. */
export async function timed(work: () => unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
