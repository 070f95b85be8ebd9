import { setTimeout as sleep } from 'node:timers/promises';
import { type StoredItem, storedChars } from '../schema/stored-item.ts';
import { inTime } from './deadline.ts';

/** Of one write. */
const CHUNK_ITEMS = 500;
const CHUNK_CHARS = 1024 * 1024;
/** All that may wait: what does not fit is left for the next read of its id. */
const MAX_WAITING_CHARS = 16 * 1024 * 1024;
/** What an item takes beside its text: its objects and its place in the map. */
const ITEM_OVERHEAD_CHARS = 300;
/** Filling takes at most an eighth of Redis's one thread: each write is followed by a pause seven times as long. */
const PAUSES = 7;
const CLOSE_PATIENCE_MS = 1000;

/**
 * Fills L2 with what reads found in L3, beside the reads. A cold reader that filled at full speed kept Redis busy 5 µs an item,
 * and the MGETs of its next reads waited behind that: half of its throughput went there.
 *
 * What waits grows old: an id that changes meanwhile is to be forgotten. A newer copy that lived for a moment only would be
 * gone by the time the older one is written, and nothing would keep that from being read.
 */
export class Backfill {
  readonly #write: (items: readonly StoredItem[]) => Promise<void>;
  readonly #now: () => number;
  readonly #waiting = new Map<string, StoredItem>();
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
      this.forget(item.id);
      const chars = charsOf(item);
      if (this.#waitingChars + chars > MAX_WAITING_CHARS && this.#waiting.size > 0) {
        this.#dropped++;
        continue;
      }
      this.#waiting.set(item.id, item);
      this.#waitingChars += chars;
    }
    if (this.#waiting.size > 0) this.#running ??= this.#run();
  }

  /** The id has changed. */
  forget(id: string): void {
    const item = this.#waiting.get(id);
    if (item === undefined) return;
    this.#waiting.delete(id);
    this.#waitingChars -= charsOf(item);
  }

  /** Any id may have changed. */
  forgetAll(): void {
    this.#waiting.clear();
    this.#waitingChars = 0;
  }

  /** Writes what waits without a pause, for a second at most. Take no more offers after it. */
  async close(): Promise<void> {
    this.#hurry.abort();
    await inTime(this.#running ?? Promise.resolve(), CLOSE_PATIENCE_MS).catch(() => undefined);
  }

  async #run(): Promise<void> {
    while (this.#waiting.size > 0) {
      const startedAt = this.#now();
      await this.#write(this.#nextChunk());
      await this.#pause(PAUSES * (this.#now() - startedAt));
    }
    this.#running = undefined;
  }

  #nextChunk(): StoredItem[] {
    const chunk: StoredItem[] = [];
    let chars = 0;
    for (const item of this.#waiting.values()) {
      if (chunk.length === CHUNK_ITEMS || chars >= CHUNK_CHARS) break;
      chunk.push(item);
      chars += charsOf(item);
    }
    for (const { id } of chunk) this.forget(id);
    return chunk;
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { ref: false, signal: this.#hurry.signal }).catch(() => undefined);
  }
}

function charsOf(item: StoredItem): number {
  return storedChars(item) + ITEM_OVERHEAD_CHARS;
}
