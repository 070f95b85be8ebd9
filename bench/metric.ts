/** What a bench prints: one line a metric. */
export type Emit = (metric: string, value: number, unit: string) => void;

export interface BenchOptions {
  /** Items to measure with, where the bench has such a size. */
  readonly items: number | undefined;
  /** How long to measure, where the bench has such a time. */
  readonly seconds: number | undefined;
  /** Folder of an earlier, built checkout to compare with, where the bench does. */
  readonly before: string | undefined;
}

export type Bench = (emit: Emit, options: BenchOptions) => Promise<void>;

export function perSecond(count: number, milliseconds: number): number {
  return Math.round((count * 1000) / milliseconds);
}

/** Runs `work` and returns how many milliseconds it took. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
