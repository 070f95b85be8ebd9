import { setTimeout as sleep } from 'node:timers/promises';
import type { StoredItem } from '../schema/stored-item.ts';
import { inTime } from './deadline.ts';

/** Items of one write, and all that may wait: what does not fit is left for the next read of its id. */
const CHUNK_ITEMS = 500;
const MAX_WAITING_CHARS = 16 * 1024 * 1024;
/** Filling takes at most a quarter of Redis's one thread: each write is followed by a pause three times as long. */
const PAUSES = 3;
const CLOSE_PATIENCE_MS = 1000;

/**
 * Fills L2 with what reads found in L3, beside the reads. A cold reader that filled at full speed kept Redis busy 5 µs an item,
 * and the MGETs of its next reads waited behind that: half of its throughput went there.
 */
export class Backfill {
  readonly #write: (items: readonly StoredItem[]) => Promise<void>;
  readonly #now: () => number;
  #waiting: StoredItem[] = [];
  #waitingChars = 0;
  #running: Promise<void> | undefined;
  readonly #hurry = new AbortController();
  #dropped = 0;

  /** @param write stores items; never rejects. @param now milliseconds from any start. */
  constructor(write: (items: readonly StoredItem[]) => Promise<void>, now = () => performance.now()) {
    this.#write = write;
    this.#now = now;
  }

  /** Items that did not fit. */
  get dropped(): number {
    return this.#dropped;
  }

  offer(items: readonly StoredItem[]): void {
    for (const item of items) {
      const chars = item.body.length;
      if (this.#waitingChars + chars > MAX_WAITING_CHARS && this.#waiting.length > 0) {
        this.#dropped++;
        continue;
      }
      this.#waiting.push(item);
      this.#waitingChars += chars;
    }
    this.#running ??= this.#run();
  }

  /** Writes what waits without a pause, for a second at most. Take no more offers after it. */
  async close(): Promise<void> {
    this.#hurry.abort();
    await inTime(this.#running ?? Promise.resolve(), CLOSE_PATIENCE_MS).catch(() => undefined);
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const chunk = this.#waiting.splice(0, CHUNK_ITEMS);
      for (const item of chunk) this.#waitingChars -= item.body.length;
      const startedAt = this.#now();
      await this.#write(chunk);
      await this.#pause(PAUSES * (this.#now() - startedAt));
    }
    this.#running = undefined;
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { ref: false, signal: this.#hurry.signal }).catch(() => undefined);
  }
}
