import { abortable, MAX_TIMER_MS, within } from '../abortable.ts';
import { SettleTimeoutError } from '../errors.ts';
import { OUTCOMES } from '../schema/feed.ts';
import { waitOptionsOf } from '../schema/options.ts';
import type { WaitOptions } from '../types/call.ts';
import type {
  BatchOutcome,
  BatchTicket,
  Outcome,
  RangeOutcome,
  RangeTicket,
  Rejection,
  Ticket,
} from '../types/write.ts';
import type { TrackedChunk } from './tracked-chunk.ts';

/** One accepted operation: operation `index` of its chunk. */
export class ChunkTicket implements Ticket {
  readonly id: string;
  readonly #chunk: TrackedChunk;
  readonly #index: number;

  constructor(id: string, chunk: TrackedChunk, index: number) {
    this.id = id;
    this.#chunk = chunk;
    this.#index = index;
  }

  get version(): number {
    return this.#chunk.first + this.#index;
  }

  get chunk(): TrackedChunk {
    return this.#chunk;
  }

  /** @throws SettleTimeoutError, QueueLostError, ClosedError, or the signal's reason */
  async settled(options?: WaitOptions): Promise<Outcome> {
    await waitFor([this.#chunk], waitOptionsOf(options));
    return this.outcome();
  }

  /** The outcome, once the chunk is done. */
  outcome(): Outcome {
    return this.#chunk.outcomeOf(this.#index);
  }
}

/** An accepted range delete: a chunk of its own in each partition. */
export class SubmittedRange implements RangeTicket {
  readonly #chunks: readonly TrackedChunk[];

  constructor(chunks: readonly TrackedChunk[]) {
    this.#chunks = chunks;
  }

  /** By partition: each deletes as of a stamp of its own clock. */
  get versions(): readonly number[] {
    return this.#chunks.map(({ first }) => first);
  }

  /** The highest of them. */
  get version(): number {
    return Math.max(...this.versions);
  }

  /** @throws JobRefusedError, SettleTimeoutError, QueueLostError, ClosedError, or the signal's reason */
  async settled(options?: WaitOptions): Promise<RangeOutcome> {
    await waitFor(this.#chunks, waitOptionsOf(options));
    const outcomes = this.#chunks.map((chunk) => chunk.rangeOutcome());
    return {
      deleted: outcomes.reduce((sum, { deleted }) => sum + deleted, 0),
      dead: outcomes.reduce((sum, { dead }) => sum + dead, 0),
    };
  }
}

export class SubmittedBatch implements BatchTicket {
  readonly total: number;
  readonly rejected: readonly Rejection[];
  readonly tickets: readonly ChunkTicket[];

  constructor(total: number, tickets: readonly ChunkTicket[], rejected: readonly Rejection[]) {
    this.total = total;
    this.tickets = tickets;
    this.rejected = rejected;
  }

  get accepted(): number {
    return this.tickets.length;
  }

  /** @throws SettleTimeoutError, QueueLostError, ClosedError, or the signal's reason */
  async settled(options?: WaitOptions): Promise<BatchOutcome> {
    await waitFor(new Set(this.tickets.map((ticket) => ticket.chunk)), waitOptionsOf(options));
    const outcomes = this.tickets.map((ticket) => ticket.outcome());
    const succeeded = outcomes.filter(({ status }) => OUTCOMES[status].isFine).length;
    return { total: this.total, succeeded, failed: this.total - succeeded, outcomes };
  }
}

/** Waits until all chunks are done, the time is up, or the signal is aborted. */
export async function waitFor(
  chunks: Iterable<TrackedChunk>,
  { timeoutMs: given, signal }: ReturnType<typeof waitOptionsOf>,
): Promise<void> {
  // Node fires a longer timer at once, so set none.
  const timeoutMs = given !== undefined && given <= MAX_TIMER_MS ? given : undefined;
  signal?.throwIfAborted();
  const open = [...chunks].filter((chunk) => !chunk.isDone);
  if (open.length === 0) return;
  const { done, stop } = waitForAll(open);
  const late = () => settleTimeout(open, timeoutMs as number);
  try {
    await abortable(timeoutMs === undefined ? done : within(timeoutMs, done, late), signal);
  } finally {
    stop();
  }
}

/** @param open different chunks that are not done */
function waitForAll(open: readonly TrackedChunk[]): { done: Promise<void>; stop: () => void } {
  let stop!: () => void;
  const done = new Promise<void>((resolve) => {
    let left = open.length;
    const wake = () => {
      if (--left === 0) resolve();
    };
    for (const chunk of open) chunk.addWaiter(wake);
    stop = () => {
      for (const chunk of open) chunk.removeWaiter(wake);
      // Ends the timer of a wait that was aborted.
      resolve();
    };
  });
  return { done, stop };
}

/** Says when no worker listens: most people notice a missing worker by this error. */
async function settleTimeout(chunks: readonly TrackedChunk[], timeoutMs: number): Promise<never> {
  const why =
    (await chunks.find((chunk) => !chunk.isDone)?.hasNoWorker()) === true
      ? ' No worker listens to the queue: start one (`tierline worker`), with the REDIS_URL and TIERLINE_NAMESPACE of this process.'
      : '';
  throw new SettleTimeoutError(
    `Not settled within ${timeoutMs} ms. The write is accepted and goes on; wait again.${why}`,
  );
}
