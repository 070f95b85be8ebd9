/** Upper bounds in seconds. Stages of a batch take milliseconds while all is well, seconds when a backend is away. */
export const STAGE_BUCKETS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

/** From a write to its settling: tens of milliseconds when idle, minutes while a backlog drains. */
export const SETTLE_BUCKETS = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900,
];

export function seconds(milliseconds: number): number {
  return milliseconds / 1000;
}
