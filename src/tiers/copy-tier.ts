import { pause, within } from '../abortable.ts';
import { CorruptItemError, TierUnavailableError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { CacheUnknownError } from '../redis/item-store.ts';
import { isDurableOnly, type Lifetimes, storedEntry } from '../redis/stored-entry.ts';
import type { FeedChanges } from '../schema/feed.ts';
import {
  decodeStored,
  decodeStoredHead,
  encodeStored,
  storedChars,
  type StoredHead,
  type StoredItem,
} from '../schema/stored-item.ts';
import { Breaker, BreakerOpenError } from './breaker.ts';
import type { CopyStore, Look, Tier } from './tier.ts';

/** Failures in a row after which reads stop asking L2, and milliseconds before one tries again. */
const FAILURES_TO_OPEN = 3;
const COOLDOWN_MS = 1000;

export interface CopyTierOptions extends Lifetimes {
  /** Milliseconds one request may take. */
  readonly timeoutMs: number;
}

/**
 * L2: the copies, on any engine. A missing copy says nothing. A corrupt one is dropped and counts as missing: L3 has the row.
 * A breaker stands before the engine, because one that hangs would cost every read its time limit.
 */
export class CopyTier implements Tier {
  readonly #copies: CopyStore;
  readonly #options: CopyTierOptions;
  readonly #log: Logger;
  readonly #breaker = new Breaker({ failureThreshold: FAILURES_TO_OPEN, cooldownMs: COOLDOWN_MS });
  readonly #fills = new Backfill<Look>(
    (items, look) => this.#store(items, look, true),
    (look) => this.#copies.isFresh(look),
  );
  #requests = 0;
  #failures = 0;
  #skipped = 0;
  #refused = 0;

  constructor(copies: CopyStore, options: CopyTierOptions, log: Logger) {
    this.#copies = copies;
    this.#options = options;
    this.#log = log;
  }

  get counters(): { requests: number; failures: number; skipped: number; unfilled: number } {
    return {
      requests: this.#requests,
      failures: this.#failures,
      skipped: this.#skipped,
      unfilled: this.#fills.dropped + this.#refused,
    };
  }

  async getMany(ids: readonly string[]): Promise<(StoredItem | undefined)[]> {
    const answers: (StoredItem | undefined)[] = [];
    await this.#ask(async () => {
      for (const part of this.#copies.getParts(ids)) {
        for (const value of await part) {
          answers.push(value === null ? undefined : this.#decode(ids[answers.length] as string, value));
        }
      }
    });
    return answers;
  }

  /** Kind and stamps of each copy without its content. @throws TierUnavailableError */
  async getHeads(ids: readonly string[]): Promise<(StoredHead | undefined)[]> {
    const values = await this.#ask(() => this.#copies.getHeads(ids));
    return values.map((value) => (value === '' ? undefined : decodeStoredHead(value)));
  }

  /** Take it before L3 is asked for what may be filled in; undefined when L2 takes nothing at the moment. */
  look(): Look | undefined {
    return this.#copies.look();
  }

  /** Writes rows of which L2 has no copy, later and for a bounded time. When that fails, a later read is slower. */
  backfill(items: readonly StoredItem[], look: Look): void {
    // A fence would save no read: reads of an item that has no copy go on to L3 in any case.
    const kept = items.some(isDurableOnly) ? items.filter((item) => !isDurableOnly(item)) : items;
    if (kept.length > 0) this.#fills.offer(kept, look);
  }

  /** The rows that wait to be written are older than these changes. */
  onChanges({ ids }: Pick<FeedChanges, 'ids'>): void {
    for (const id of ids) this.#fills.forget(id);
  }

  /** Changes may have been missed. */
  onGap(): void {
    this.#fills.forgetAll();
  }

  /** Changes are not seen. */
  onDown(): void {
    this.#fills.forgetAll();
  }

  /** Writes the rows that still wait. */
  close(): Promise<void> {
    return this.#fills.close();
  }

  /** Replaces copies that are older than changes known to have settled. */
  repair(items: readonly StoredItem[], look: Look): Promise<void> {
    return this.#store(items, look, false);
  }

  async #store(items: readonly StoredItem[], look: Look, likelyAbsent: boolean): Promise<void> {
    const entries = items.map((item) => storedEntry(item, this.#options));
    try {
      const fates = await this.#ask(() => this.#copies.setNewer(entries, look, likelyAbsent));
      for (const fate of fates) if (fate === 'late' || fate === 'dropped') this.#refused++;
    } catch (error) {
      this.#log.debug({ err: error }, 'L2 took no copies');
    }
  }

  /** Drops a copy whose content does not match its hash, so that the next read fills it from L3. */
  async drop(item: StoredItem): Promise<void> {
    await this.#drop(item.id, encodeStored(item));
  }

  async #ask<T>(work: () => Promise<T>): Promise<T> {
    // Not a failure of the engine: it is not known yet which of its copies are good.
    if (this.#copies.session === undefined) {
      this.#skipped++;
      throw new TierUnavailableError('l2', new CacheUnknownError());
    }
    try {
      return await this.#breaker.run(() => {
        this.#requests++;
        return within(this.#options.timeoutMs, work());
      });
    } catch (error) {
      if (error instanceof BreakerOpenError) this.#skipped++;
      else this.#failures++;
      throw new TierUnavailableError('l2', error);
    }
  }

  #decode(id: string, value: string): StoredItem | undefined {
    try {
      const item = decodeStored(id, value);
      // L2 keeps no content of it: L3 has the row.
      return item.kind === 'fence' ? undefined : item;
    } catch (error) {
      if (!(error instanceof CorruptItemError)) throw error;
      this.#log.warn({ err: error }, 'corrupt L2 copy');
      void this.#drop(id, value);
      return undefined;
    }
  }

  async #drop(id: string, value: string): Promise<void> {
    await this.#ask(() => this.#copies.dropCopy(id, value)).catch((error: unknown) =>
      this.#log.debug({ err: error }, 'corrupt L2 copy was not dropped'),
    );
  }
}

/** Bounds of one write. */
const CHUNK_ITEMS = 500;
const CHUNK_CHARS = 1024 * 1024;
/** Bound of all that waits. An item that does not fit is left for the next read of its id. */
const MAX_WAITING_CHARS = 16 * 1024 * 1024;
/** Memory of an item beside its text: its objects and its place in the map. */
const ITEM_OVERHEAD_CHARS = 300;
/** Filling takes at most an eighth of Redis's one thread: each write is followed by a pause seven times as long. */
const PAUSES = 7;
const CLOSE_MS = 1000;

/**
 * Writes rows that reads found in L3 into L2, beside the reads. A cold reader that wrote at full speed kept Redis busy 5 µs an
 * item, and the MGETs of its next reads waited behind that: it lost half of its throughput.
 *
 * Forget an id that changes while it waits: the newer copy may have expired, and readers would then get this older one. An
 * item that has waited until L2 would refuse it is dropped.
 */
export class Backfill<L> {
  readonly #write: (items: readonly StoredItem[], look: L) => Promise<void>;
  readonly #isFresh: (look: L) => boolean;
  readonly #now: () => number;
  readonly #waiting = new Map<string, { readonly item: StoredItem; readonly look: L }>();
  #waitingChars = 0;
  /** The last run. Apart from it `#isRunning`, because a run that finds nothing fresh has ended before its promise is known. */
  #running: Promise<void> = Promise.resolve();
  #isRunning = false;
  readonly #closing = new AbortController();
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
    if (this.#waiting.size > 0 && !this.#isRunning) {
      this.#isRunning = true;
      this.#running = this.#run();
    }
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
    this.#closing.abort();
    await within(CLOSE_MS, this.#running).catch(() => undefined);
  }

  async #run(): Promise<void> {
    while (this.#waiting.size > 0) {
      const startedAt = this.#now();
      const chunk = this.#nextChunk();
      if (chunk === undefined) break;
      await this.#write(chunk.items, chunk.look);
      await pause(PAUSES * (this.#now() - startedAt), { signal: this.#closing.signal, ref: false });
    }
    this.#isRunning = false;
  }

  /** The next items of one look. They wait in the order of their answers, so an old look may come behind a newer one. */
  #nextChunk(): { items: StoredItem[]; look: L } | undefined {
    const items: StoredItem[] = [];
    const old: StoredItem[] = [];
    let chars = 0;
    let of: L | undefined;
    for (const { item, look } of this.#waiting.values()) {
      if (items.length === CHUNK_ITEMS || chars >= CHUNK_CHARS) break;
      if (!this.#isFresh(look)) {
        old.push(item);
        continue;
      }
      if (of !== undefined && look !== of) break;
      of = look;
      items.push(item);
      chars += charsOf(item);
    }
    for (const { id } of [...old, ...items]) this.forget(id);
    this.#dropped += old.length;
    return of === undefined ? undefined : { items, look: of };
  }
}

function charsOf(item: StoredItem): number {
  return storedChars(item) + ITEM_OVERHEAD_CHARS;
}
