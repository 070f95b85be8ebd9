import { setTimeout as sleep } from 'node:timers/promises';
import { BackpressureError } from '../src/errors.ts';
import type { BatchTicket, NewItem, Producer } from '../src/types/write.ts';
import type { Scene } from './deployment.ts';

/** For each partition, so that its share of a call is a full chunk. */
const ITEMS_PER_CALL = 500;
/** So that Redis has the next call while this process reads the answer to the last. */
const CALLS_AT_ONCE = 4;
/** Much longer than any lock of a killed worker: a backend is gone. */
const STUCK_MS = 120_000;

/** The writes of the demo: submits them, tells the model, and counts what has settled. */
export class Writes {
  enqueued = 0;
  settled = 0;
  readonly #producer: Producer;
  readonly #scene: Scene;
  #settling: Promise<void>[] = [];

  constructor(producer: Producer, scene: Scene) {
    this.#producer = producer;
    this.#scene = scene;
  }

  submit(items: readonly NewItem[]): Promise<void> {
    return this.#call(items, async (part) => {
      const batch = await this.#producer.submitMany(part);
      batch.tickets.forEach(({ version }, i) => this.#scene.model.put(part[i] as NewItem, version));
      return batch;
    });
  }

  delete(ids: readonly string[]): Promise<void> {
    return this.#call(ids, async (part) => {
      const batch = await this.#producer.deleteMany(part);
      batch.tickets.forEach(({ id, version }) => this.#scene.model.delete(id, version));
      return batch;
    });
  }

  /** A few calls at once; no id is in two of them. */
  async #call<T>(all: readonly T[], call: (part: readonly T[]) => Promise<BatchTicket>): Promise<void> {
    const itemsPerCall = ITEMS_PER_CALL * this.#scene.deployment.lanes.count;
    let from = 0;
    const next = async (): Promise<void> => {
      while (from < all.length) {
        this.#scene.signal.throwIfAborted();
        const part = all.slice(from, (from += itemsPerCall));
        const batch = await whenRoom(() => call(part), this.#scene.signal);
        for (const { id, error } of batch.rejected) this.#scene.report.difference(`${id}: ${error.message}`);
        this.enqueued += batch.accepted;
        const settling = this.#settle(batch);
        this.#settling.push(settling);
        // `allSettled` tells; until it is called, a rejection must not end the process.
        settling.catch(() => undefined);
      }
    };
    await Promise.all(Array.from({ length: CALLS_AT_ONCE }, next));
  }

  async #settle(batch: BatchTicket): Promise<void> {
    const { outcomes } = await batch.settled({ timeoutMs: STUCK_MS, signal: this.#scene.signal });
    outcomes.forEach(({ status }, i) => {
      if (status !== 'applied')
        this.#scene.report.difference(`${batch.tickets[i]?.id}: settled as ${status}`);
    });
    this.settled += outcomes.length;
  }

  /** Waits until all that was submitted has settled. */
  async allSettled(): Promise<void> {
    await Promise.all(this.#settling);
    this.#settling = [];
  }
}

/** Calls until the queue has room for it. */
async function whenRoom<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof BackpressureError)) throw error;
      await sleep(error.retryAfterMs, undefined, { signal });
    }
  }
}
