import type { CopyKeys } from '../keys.ts';
import type { CopyFate } from '../redis/item-store.ts';
import type { StoredEntry } from '../redis/stored-entry.ts';
import type { StoredHead, StoredItem } from '../schema/stored-item.ts';

/** A tier that is asked for many ids at once. */
export interface Tier {
  /**
   * In the order of `ids`. A tombstone is an answer (kind `deleted`); undefined means that this tier does not know the id.
   * @throws TierUnavailableError when the tier cannot be asked
   */
  getMany(ids: readonly string[]): Promise<(StoredItem | undefined)[]>;
  /** The same without content: kind, stamps and tiers. L2 also tells its fences (kind `fence`). */
  getHeads(ids: readonly string[]): Promise<(StoredHead | undefined)[]>;
}

/** When rows were asked for in Postgres. Each engine of L2 adds what it needs to refuse copies of an old look. */
export interface Look {
  /** The engine's time in milliseconds; not later than it was. */
  readonly at: number;
}

/**
 * An engine that keeps the L2 copies: one text value an item, replaced only by a newer one, and written only from a fresh look
 * at Postgres. `ItemStore` is the one on Redis. Every method throws what kept the engine from answering, and
 * `CacheUnknownError` while it is not known which copies are good.
 */
export interface CopyStore {
  /** Another object for each connection and generation of copies; undefined while it is not known which copies are good. */
  readonly session: { readonly copies: CopyKeys } | undefined;
  /**
   * The time of the engine; nothing is read. Take it before the statement is sent whose rows are to be written. Undefined while nothing can
   * be written.
   */
  look(): Look | undefined;
  /** Whether copies that are sent now will be taken. */
  isFresh(look: Look): boolean;
  /** Asks whether the generation is still the one in use; `session` is undefined for a moment when it is not. */
  confirm(): Promise<void>;
  /** Values in the order of `ids`, null where there is none: a promise for each part of them. */
  getParts(ids: readonly string[]): readonly Promise<(string | null)[]>[];
  /** The first characters of each value, enough for `decodeStoredHead`; '' where there is none. */
  getHeads(ids: readonly string[]): Promise<string[]>;
  /** One copy with its life in milliseconds, -1 for no end; undefined where there is none. */
  inspect(id: string): Promise<{ readonly value: string; readonly ttlMs: number } | undefined>;
  /**
   * Stores each entry unless a newer one is there, and tells what became of each.
   * @param look taken before the rows were asked for; undefined: nothing is stored, all are `late`
   * @param likelyAbsent hardly any has a copy yet
   */
  setNewer(
    entries: readonly StoredEntry[],
    look: Look | undefined,
    likelyAbsent?: boolean,
  ): Promise<CopyFate[]>;
  /** Drops copies whatever they are; copies of an earlier look of their buckets are refused from then on. */
  drop(ids: readonly string[]): Promise<void>;
  /** Drops one value, unless another has taken its place. */
  dropCopy(id: string, value: string): Promise<void>;
}
