import type { BatchTicket, Producer } from '../src/types.ts';
import type { DemoItem } from './changes.ts';
import type { Differences } from './differences.ts';
import type { Model } from './model.ts';
import type { ProgressSource } from './progress.ts';

export const ITEMS_PER_CALL = 500;
/** So that Redis has the next call while this process reads the answer to the last. */
const CALLS_AT_ONCE = 4;
/** Settlements come every few milliseconds while there is work: a longer silence is waiting. */
const PAUSE_MS = 1000;
/** Much longer than any lock of a killed worker: a backend is gone. */
const STUCK_MS = 120_000;
const LOOK_EVERY_MS = 1000;

/** The writes of one stage: submits them, tells the model, and counts what has settled. */
export class Writes implements ProgressSource {
  readonly total: number;
  enqueued = 0;
  settled = 0;
  /** How many a killed worker may have had in hand. */
  leftBehind = 0;
  /** Time in which nothing settled because BullMQ waited for that worker. */
  waitedMs = 0;
  readonly #producer: Producer;
  readonly #model: Model;
  readonly #differences: Differences;
  readonly #settling: Promise<void>[] = [];
  #settledAt = performance.now();

  constructor(total: number, producer: Producer, model: Model, differences: Differences) {
    this.total = total;
    this.#producer = producer;
    this.#model = model;
    this.#differences = differences;
  }

  /** Whether nothing settles any more because only a killed worker's chunks are left. */
  get isWaiting(): boolean {
    const left = this.total - this.settled;
    return left > 0 && left <= this.leftBehind && performance.now() - this.#settledAt > PAUSE_MS;
  }

  async submit(items: readonly DemoItem[], signal: AbortSignal): Promise<void> {
    await this.#call(items, signal, async (part) => {
      const batch = await this.#producer.submitMany(part);
      part.forEach((item, i) => this.#model.put(item, batch.tickets[i]?.version ?? 0));
      return batch;
    });
  }

  async delete(ids: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#call(ids, signal, async (part) => {
      const batch = await this.#producer.deleteMany(part);
      part.forEach((id, i) => this.#model.delete(id, batch.tickets[i]?.version ?? 0));
      return batch;
    });
  }

  /** A few calls at once; no id is in two of them. */
  async #call<T>(
    all: readonly T[],
    signal: AbortSignal,
    call: (part: readonly T[]) => Promise<BatchTicket>,
  ): Promise<void> {
    const parts = partsOf(all);
    const next = async (): Promise<void> => {
      for (const part of parts) {
        signal.throwIfAborted();
        this.#accepted(await call(part));
      }
    };
    await Promise.all(Array.from({ length: CALLS_AT_ONCE }, next));
  }

  /** Waits until all that was submitted has settled. */
  async allSettled(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const over = new AbortController();
    const stuck = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { signal: over.signal });
      const timer = setInterval(() => {
        if (performance.now() - this.#settledAt < STUCK_MS) return;
        reject(
          new Error(
            `nothing has settled for ${STUCK_MS / 1000} s, and ${this.enqueued - this.settled} writes wait`,
          ),
        );
      }, LOOK_EVERY_MS);
      over.signal.addEventListener('abort', () => clearInterval(timer));
    });
    try {
      await Promise.race([Promise.all(this.#settling), stuck]);
    } finally {
      over.abort();
    }
  }

  #accepted(batch: BatchTicket): void {
    for (const { id, error } of batch.rejected) this.#differences.add(`${id}: rejected, ${error.message}`);
    this.enqueued += batch.accepted;
    const settling = this.#settle(batch);
    this.#settling.push(settling);
    // `allSettled` tells; until it is called, a rejection must not end the process.
    settling.catch(() => undefined);
  }

  async #settle(batch: BatchTicket): Promise<void> {
    const { outcomes } = await batch.settled();
    outcomes.forEach(({ status }, i) => {
      if (status !== 'applied') this.#differences.add(`${batch.tickets[i]?.id}: settled as ${status}`);
    });
    const now = performance.now();
    if (this.isWaiting) this.waitedMs += now - this.#settledAt;
    this.#settledAt = now;
    this.settled += outcomes.length;
  }
}

function* partsOf<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < all.length; from += ITEMS_PER_CALL) yield all.slice(from, from + ITEMS_PER_CALL);
}
