import type { Stamp } from '../clock.ts';
import { JobRefusedError } from '../errors.ts';
import type { ChunkOutcome, OperationException } from '../schema/feed.ts';
import type { Outcome, RangeOutcome } from '../types/write.ts';
import type { WorkerCensus } from './worker-census.ts';

/** One queued chunk, as the producer sees it. It is unsettled until the feed tells the outcome of its operations. */
export class TrackedChunk {
  readonly chunkId: string;
  readonly first: Stamp;
  /** How many operations it has. Their stamps are `first`, `first + 1` and so on. */
  readonly length: number;
  readonly epoch: string;
  readonly #workers: Pick<WorkerCensus, 'any'> | undefined;
  #outcome: ChunkOutcome = {};
  /** Those of the outcome, by index. */
  #exceptions: ReadonlyMap<number, OperationException> | undefined;
  #error: unknown;
  #done = false;
  /** Most chunks settle before anybody waits for them. */
  #waiters: Set<() => void> | undefined;

  constructor(
    chunkId: string,
    first: Stamp,
    length: number,
    epoch: string,
    workers?: Pick<WorkerCensus, 'any'>,
  ) {
    this.#workers = workers;
    this.chunkId = chunkId;
    this.first = first;
    this.length = length;
    this.epoch = epoch;
  }

  /** Whether no worker listens to its queue, as far as Redis tells. */
  async hasNoWorker(): Promise<boolean> {
    return (await this.#workers?.any()) === false;
  }

  settle(outcome: ChunkOutcome): void {
    this.#outcome = outcome;
    if (outcome.exceptions !== undefined) {
      this.#exceptions = new Map(outcome.exceptions.map((exception) => [exception.index, exception]));
    }
    this.#wake();
  }

  fail(error: unknown): void {
    this.#error = error;
    this.#wake();
  }

  #wake(): void {
    this.#done = true;
    const waiters = this.#waiters ?? [];
    this.#waiters = undefined;
    for (const wake of waiters) wake();
  }

  /** Whether its outcome can no longer be known. */
  get isLost(): boolean {
    return this.#error !== undefined;
  }

  /** Whether it has settled or is lost. */
  get isDone(): boolean {
    return this.#done;
  }

  /**
   * Has `wake` called once the chunk is done, which it must not be yet. A wait that ends earlier takes it back with `removeWaiter`:
   * in an outage a chunk may stay open for hours, and callers may wait for it again and again. A promise for all of them would not do,
   * as nobody can leave the list of those who wait for a promise.
   */
  addWaiter(wake: () => void): void {
    (this.#waiters ??= new Set()).add(wake);
  }

  removeWaiter(wake: () => void): void {
    this.#waiters?.delete(wake);
  }

  /** @throws why the outcome of the chunk cannot be known */
  outcomeOf(index: number): Outcome {
    const { refused } = this.#known();
    if (refused !== undefined) return { status: 'dead', version: this.first + index, reason: refused };
    const exception = this.#exceptions?.get(index);
    if (exception === undefined) return { status: 'applied', version: this.first + index };
    const { status, version, reason } = exception;
    return reason === undefined ? { status, version } : { status, version, reason };
  }

  /** Of a range delete. @throws why that cannot be known */
  rangeOutcome(): RangeOutcome {
    const { refused, range } = this.#known();
    if (refused !== undefined) throw new JobRefusedError(`The range delete could not be run: ${refused}`);
    return range ?? { deleted: 0, dead: 0 };
  }

  #known(): ChunkOutcome {
    if (this.#error !== undefined) throw this.#error;
    return this.#outcome;
  }
}
