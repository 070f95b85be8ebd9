import type { BatchTicket, Producer } from '../src/types.ts';
import type { DemoItem } from './changes.ts';
import type { Differences } from './differences.ts';
import type { Model } from './model.ts';
import type { ProgressSource } from './progress.ts';

const ITEMS_PER_CALL = 500;
/** Settlements come every few milliseconds while there is work: a longer silence is waiting. */
const PAUSE_MS = 1000;

/** The writes of one stage: submits them, tells the model, and counts what has settled. */
export class Writes implements ProgressSource {
  readonly total: number;
  enqueued = 0;
  settled = 0;
  /** Time in which nothing settled although writes were waiting: a killed worker's locks. */
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

  /** Whether nothing has settled for a while although there is something to settle. */
  get isWaiting(): boolean {
    return this.settled < this.enqueued && performance.now() - this.#settledAt > PAUSE_MS;
  }

  async submit(items: readonly DemoItem[], signal: AbortSignal): Promise<void> {
    for (const part of partsOf(items)) {
      signal.throwIfAborted();
      const batch = await this.#producer.submitMany(part);
      this.#accepted(batch);
      part.forEach((item, i) => this.#model.put(item, batch.tickets[i]?.version ?? 0));
    }
  }

  async delete(ids: readonly string[], signal: AbortSignal): Promise<void> {
    for (const part of partsOf(ids)) {
      signal.throwIfAborted();
      const batch = await this.#producer.deleteMany(part);
      this.#accepted(batch);
      part.forEach((id, i) => this.#model.delete(id, batch.tickets[i]?.version ?? 0));
    }
  }

  /** Waits until all that was submitted has settled. */
  allSettled(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(signal.reason);
      if (signal.aborted) onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      Promise.all(this.#settling)
        .then(() => resolve(), reject)
        .finally(() => signal.removeEventListener('abort', onAbort));
    });
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
    if (this.settled > 0 && now - this.#settledAt > PAUSE_MS) this.waitedMs += now - this.#settledAt;
    this.#settledAt = now;
    this.settled += outcomes.length;
  }
}

function* partsOf<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < all.length; from += ITEMS_PER_CALL) yield all.slice(from, from + ITEMS_PER_CALL);
}
