import { pause, within } from '../abortable.ts';
import { type StoredItem, storedChars } from '../schema/stored-item.ts';

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
 * What waits grows old: an id that changes meanwhile is to be forgotten, and so is what comes from a look at Postgres that L2
 * would find too old.
 */
export class Backfill<L> {
  readonly #write: (items: readonly StoredItem[], look: L) => Promise<void>;
  readonly #isFresh: (look: L) => boolean;
  readonly #now: () => number;
  readonly #waiting = new Map<string, { readonly item: StoredItem; readonly look: L }>();
  #waitingChars = 0;
  #running: Promise<void> | undefined;
  readonly #hurry = new AbortController();
  #dropped = 0;

  /**
   * @param write stores items of one look at Postgres; never rejects
   * @param isFresh whether L2 still takes what comes from a look
   * @param now milliseconds from any start
   */
  constructor(
    write: (items: readonly StoredItem[], look: L) => Promise<void>,
    isFresh: (look: L) => boolean,
    now = () => performance.now(),
  ) {
    this.#write = write;
    this.#isFresh = isFresh;
    this.#now = now;
  }

  /** Items that did not fit, or waited too long. */
  get dropped(): number {
    return this.#dropped;
  }

  /** @param look from before the items were asked for */
  offer(items: readonly StoredItem[], look: L): void {
    for (const item of items) {
      this.forget(item.id);
      const chars = charsOf(item);
      if (this.#waitingChars + chars > MAX_WAITING_CHARS && this.#waiting.size > 0) {
        this.#dropped++;
        continue;
      }
      this.#waiting.set(item.id, { item, look });
      this.#waitingChars += chars;
    }
    if (this.#waiting.size > 0) this.#running ??= this.#run();
  }

  /** The id has changed. */
  forget(id: string): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    this.#waitingChars -= charsOf(waiting.item);
  }

  /** Any id may have changed. */
  forgetAll(): void {
    this.#waiting.clear();
    this.#waitingChars = 0;
  }

  /** Writes what waits without a pause, for a second at most. Take no more offers after it. */
  async close(): Promise<void> {
    this.#hurry.abort();
    await within(CLOSE_PATIENCE_MS, this.#running ?? Promise.resolve()).catch(() => undefined);
  }

  async #run(): Promise<void> {
    while (this.#waiting.size > 0) {
      const startedAt = this.#now();
      const chunk = this.#nextChunk();
      if (chunk === undefined) break;
      await this.#write(chunk.items, chunk.look);
      await pause(PAUSES * (this.#now() - startedAt), { signal: this.#hurry.signal, ref: false });
    }
    this.#running = undefined;
  }

  /** Looks follow one another, so what is good for the first item is good for all of its chunk. */
  #nextChunk(): { items: StoredItem[]; look: L } | undefined {
    const items: StoredItem[] = [];
    const old: StoredItem[] = [];
    let chars = 0;
    let oldest: L | undefined;
    for (const { item, look } of this.#waiting.values()) {
      if (items.length === CHUNK_ITEMS || chars >= CHUNK_CHARS) break;
      if (oldest === undefined && !this.#isFresh(look)) {
        old.push(item);
        continue;
      }
      oldest ??= look;
      items.push(item);
      chars += charsOf(item);
    }
    for (const { id } of [...old, ...items]) this.forget(id);
    this.#dropped += old.length;
    return oldest === undefined ? undefined : { items, look: oldest };
  }
}

function charsOf(item: StoredItem): number {
  return storedChars(item) + ITEM_OVERHEAD_CHARS;
}
