import { within } from '../abortable.ts';
import { CorruptItemError, TierUnavailableError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { FeedChanges } from '../schema/feed.ts';
import type { Look } from '../redis/cache-generation.ts';
import {
  CacheUnknownError,
  isDurableOnly,
  type ItemStore,
  type Lifetimes,
  storedEntry,
} from '../redis/item-store.ts';
import {
  decodeStored,
  decodeStoredHead,
  encodeStored,
  type StoredHead,
  type StoredItem,
} from '../schema/stored-item.ts';
import { Backfill } from './backfill.ts';
import { Breaker, BreakerOpenError } from './breaker.ts';
import type { Tier } from './tier.ts';

/** Failures in a row after which reads stop asking Redis, and how long before one tries again. */
const FAILURES_TO_OPEN = 3;
const COOLDOWN_MS = 1000;

export interface RedisTierOptions extends Lifetimes {
  /** Milliseconds one request may take. */
  readonly timeoutMs: number;
}

/**
 * L2: the copies in Redis. Missing ones say nothing; a corrupt one is dropped and counts as missing, for L3 has the
 * truth. Behind a breaker, because a Redis that hangs would cost every read its time limit.
 */
export class RedisTier implements Tier {
  readonly #items: ItemStore;
  readonly #options: RedisTierOptions;
  readonly #log: Logger;
  readonly #breaker = new Breaker({ failureThreshold: FAILURES_TO_OPEN, cooldownMs: COOLDOWN_MS });
  readonly #fills = new Backfill<Look>(
    (items, look) => this.#store(items, look, true),
    (look) => this.#items.isFresh(look),
  );
  #requests = 0;
  #failures = 0;
  #skipped = 0;
  #refused = 0;

  constructor(items: ItemStore, options: RedisTierOptions, log: Logger) {
    this.#items = items;
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
      for (const part of this.#items.getParts(ids)) {
        for (const value of await part) {
          answers.push(value === null ? undefined : this.#decode(ids[answers.length] as string, value));
        }
      }
    });
    return answers;
  }

  /** Kind and stamps of each copy without its content. @throws TierUnavailableError */
  async getHeads(ids: readonly string[]): Promise<(StoredHead | undefined)[]> {
    const values = await this.#ask(() => this.#items.getHeads(ids));
    return values.map((value) => (value === '' ? undefined : decodeStoredHead(value)));
  }

  /** Take it before L3 is asked for what may be filled in; undefined when L2 takes nothing at the moment. */
  look(): Look | undefined {
    return this.#items.look();
  }

  /** Keeps what L3 said of ids that L2 did not have, for a bounded time. Failing only costs a later read its speed. */
  backfill(items: readonly StoredItem[], look: Look): void {
    // A fence would save no read: those of an item that is not kept here go on to L3 in any case.
    const kept = items.some(isDurableOnly) ? items.filter((item) => !isDurableOnly(item)) : items;
    if (kept.length > 0) this.#fills.offer(kept, look);
  }

  /** What waits to be filled in and has changed since would be older than what readers were given. */
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

  /** Fills in what still waits to be. */
  close(): Promise<void> {
    return this.#fills.close();
  }

  /** Replaces copies that were found older than what this process knows to be settled. */
  repair(items: readonly StoredItem[], look: Look): Promise<void> {
    return this.#store(items, look, false);
  }

  /** What is refused is left for a later read. */
  async #store(items: readonly StoredItem[], look: Look, likelyAbsent: boolean): Promise<void> {
    const entries = items.map((item) => storedEntry(item, this.#options));
    try {
      const fates = await this.#ask(() => this.#items.setNewer(entries, look, likelyAbsent));
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
    // Not a failure of Redis: nobody has said yet which of its copies are good.
    if (this.#items.session === undefined) {
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
      // "Not kept in L2": L3 has it.
      return item.kind === 'fence' ? undefined : item;
    } catch (error) {
      if (!(error instanceof CorruptItemError)) throw error;
      this.#log.warn({ err: error }, 'corrupt L2 copy');
      void this.#drop(id, value);
      return undefined;
    }
  }

  async #drop(id: string, value: string): Promise<void> {
    await this.#ask(() => this.#items.dropCopy(id, value)).catch((error: unknown) =>
      this.#log.debug({ err: error }, 'corrupt L2 copy was not dropped'),
    );
  }
}
