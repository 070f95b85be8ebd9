import type { Differences } from './differences.ts';
import type { Observer } from './observer.ts';
import type { Progress } from './progress.ts';
import type { Scratch } from './scratch.ts';
import type { Workers } from './workers.ts';

/** What the stages of the demo work with. */
export interface TourParts {
  readonly items: number;
  readonly scratch: Scratch;
  readonly observer: Observer;
  readonly workers: Workers;
  readonly differences: Differences;
  readonly progress: Progress;
  /** How long BullMQ waits for a worker that is gone, in milliseconds. */
  readonly lockMs: number;
  readonly signal: AbortSignal;
}
