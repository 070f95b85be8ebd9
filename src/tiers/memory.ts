/**
 * What one entry costs beside its value and its id's characters: Map slots, entry object, string header and padding.
 * Measured on Node 20 (x64) as heap per entry less the characters: 125 to 163 bytes while a tier fills, 159 to 204 in
 * one that evicts all the time, because the Map keeps deleted slots and doubles before it clears them. The
 * highest is charged, so that the bound holds: with less, tiers of some sizes took 6 % more than `maxBytes`.
 */
export const ENTRY_OVERHEAD_BYTES = 208;
/** V8 stores an id as one byte a UTF-16 code unit, or two once one of them is above U+00FF. Two never counts too little. */
const BYTES_PER_CODE_UNIT = 2;
/** Default spread of the time to live, as a share of it, so that entries filled together do not all expire together. */
const JITTER_SHARE = 0.1;

export interface MemoryTierOptions {
  /** Bound on `sizeBytes`, in bytes. An entry larger than this is not kept. Minimum 0, which keeps nothing. */
  maxBytes: number;
  /** Milliseconds after `set` at which an entry is no longer given out. Above 0; Infinity for never. */
  ttlMs: number;
  /** Milliseconds added to `ttlMs`, asked at every `set`. @default evenly from 0 to a tenth of `ttlMs` */
  jitter?: () => number;
  /** Milliseconds from any start, never going back. @default performance.now */
  now?: () => number;
}

/** Told of a value that leaves the tier: to make room, because it is too large, or because it has expired. */
export type EvictionListener<V> = (id: string, value: V) => void;

/** Totals since the tier was made. `clear` and `delete` are neither evictions nor expirations. */
export interface MemoryTierCounters {
  /** Entries dropped to make room, and those that were too large to be kept at all. */
  evictions: number;
  /** Expired entries that a `get` or an eviction found and dropped. */
  expirations: number;
}

interface Entry<V> {
  readonly id: string;
  value: V;
  /** All that this entry counts against `maxBytes`. */
  bytes: number;
  expiresAt: number;
  visited: boolean;
  newer: Entry<V> | undefined;
  older: Entry<V> | undefined;
}

/**
 * L1: the values that this process has read lately, bounded by bytes (I10).
 *
 * Eviction is SIEVE (Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is Simpler than LRU", NSDI 2024). Entries stand in a
 * list by age and never move. A hit only sets a bit. When room is needed, a hand walks from the oldest to the newest,
 * clears the bits that are set, evicts the first entry without one, and stays there for the next time. Measured
 * with 200,000 entries, 2 M gets: 1.0 µs a hit spread evenly over all entries and 0.7 µs where few are hot (Zipf 0.9), against
 * 1.2 and 0.9 µs for a linked LRU and 1.5 and 24 µs for deleting and re-inserting in the Map, which rehashes it over
 * and over. With room for a tenth of the entries SIEVE hit 67 %, LRU 61 %. One eviction may walk past every
 * entry, but only once for each bit that a hit has set.
 *
 * The tier knows nothing of versions or absence. Its owner decides what it keeps, and a value may mean "known absent".
 * `undefined` must not be a value.
 */
export class MemoryTier<V> {
  readonly #maxBytes: number;
  readonly #ttlMs: number;
  readonly #jitter: () => number;
  readonly #now: () => number;
  #onEvicted: EvictionListener<V> = () => undefined;
  readonly #entries = new Map<string, Entry<V>>();
  #newest: Entry<V> | undefined;
  #oldest: Entry<V> | undefined;
  /** Where the next eviction looks first; undefined for the oldest. */
  #hand: Entry<V> | undefined;
  #sizeBytes = 0;
  #evictions = 0;
  #expirations = 0;

  /** @throws RangeError when `maxBytes` or `ttlMs` is below its minimum or not a number. */
  constructor(options: MemoryTierOptions) {
    const { maxBytes, ttlMs, jitter, now = () => performance.now() } = options;
    if (!(maxBytes >= 0)) throw new RangeError(`maxBytes is ${maxBytes}, below 0`);
    if (!(ttlMs > 0)) throw new RangeError(`ttlMs is ${ttlMs}, not above 0`);
    const spreadMs = Number.isFinite(ttlMs) ? ttlMs * JITTER_SHARE : 0;
    this.#maxBytes = maxBytes;
    this.#ttlMs = ttlMs;
    this.#jitter = jitter ?? (() => Math.random() * spreadMs);
    this.#now = now;
  }

  /** Tells one listener; not of `delete`, `clear`, or a value that another one replaces. */
  listen(onEvicted: EvictionListener<V>): void {
    this.#onEvicted = onEvicted;
  }

  /** The value last set, unless it was put out, deleted or has expired. */
  get(id: string): V | undefined {
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    if (entry.expiresAt <= this.#now()) {
      this.#expire(entry);
      return undefined;
    }
    entry.visited = true;
    return entry.value;
  }

  /** The same as `get` without effects: nothing is counted, dropped or kept longer. */
  peek(id: string): V | undefined {
    const entry = this.#entries.get(id);
    return entry !== undefined && entry.expiresAt > this.#now() ? entry.value : undefined;
  }

  /** The value last set, also when it has expired: it is known, and must not be given out. */
  last(id: string): V | undefined {
    return this.#entries.get(id)?.value;
  }

  /**
   * Keeps `value`, putting out others until it fits. A value too large for the whole tier is not kept, and neither is
   * the older one it would have replaced.
   * @param bytes size of the value alone; `entryBytes` says what it will count.
   * @throws RangeError when `bytes` is negative or not a finite number.
   */
  set(id: string, value: V, bytes: number): void {
    if (!(bytes >= 0 && bytes < Infinity)) throw new RangeError(`an entry of ${bytes} bytes`);
    const replaced = this.#entries.get(id);
    if (replaced !== undefined) this.#drop(replaced);
    const cost = entryBytes(id, bytes);
    if (cost > this.#maxBytes) {
      this.#evictions++;
      this.#onEvicted(id, value);
      return;
    }
    const now = this.#now();
    if (this.#sizeBytes + cost > this.#maxBytes) this.#makeRoom(this.#maxBytes - cost, now);
    // Whole milliseconds stay small integers inside the entry, where a fraction would be an object of 16 bytes.
    const expiresAt = Math.ceil(now + this.#ttlMs + this.#jitter());
    const visited = replaced !== undefined;
    const entry: Entry<V> = {
      id,
      value,
      bytes: cost,
      expiresAt,
      visited,
      newer: undefined,
      older: this.#newest,
    };
    if (this.#newest === undefined) this.#oldest = entry;
    else this.#newest.newer = entry;
    this.#newest = entry;
    this.#entries.set(id, entry);
    this.#sizeBytes += cost;
  }

  /** Whether there was an entry, expired or not. */
  delete(id: string): boolean {
    const entry = this.#entries.get(id);
    if (entry === undefined) return false;
    this.#drop(entry);
    return true;
  }

  clear(): void {
    this.#entries.clear();
    this.#newest = undefined;
    this.#oldest = undefined;
    this.#hand = undefined;
    this.#sizeBytes = 0;
  }

  /** Entries held, expired ones included until they are found. */
  get size(): number {
    return this.#entries.size;
  }

  /** Bytes that the entries of `size` count, overhead included. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  /** A copy of the counts as they are now. */
  get counters(): MemoryTierCounters {
    return { evictions: this.#evictions, expirations: this.#expirations };
  }

  /** All entries of `size`, for tests and debugging. `bytes` counts the overhead. */
  *entries(): IterableIterator<[id: string, entry: { value: V; bytes: number; expiresAt: number }]> {
    for (const [id, { value, bytes, expiresAt }] of this.#entries) yield [id, { value, bytes, expiresAt }];
  }

  #makeRoom(targetBytes: number, now: number): void {
    while (this.#sizeBytes > targetBytes) {
      const entry = (this.#hand ?? this.#oldest)!;
      this.#hand = entry.newer;
      if (entry.expiresAt <= now) {
        this.#expire(entry);
      } else if (entry.visited) {
        entry.visited = false;
      } else {
        this.#drop(entry);
        this.#evictions++;
        this.#onEvicted(entry.id, entry.value);
      }
    }
  }

  #expire(entry: Entry<V>): void {
    this.#drop(entry);
    this.#expirations++;
    this.#onEvicted(entry.id, entry.value);
  }

  #drop(entry: Entry<V>): void {
    const { newer, older } = entry;
    if (this.#hand === entry) this.#hand = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    this.#entries.delete(entry.id);
    this.#sizeBytes -= entry.bytes;
  }
}

/** What an entry counts against `maxBytes` when its value alone takes `bytes`. */
export function entryBytes(id: string, bytes: number): number {
  return bytes + ENTRY_OVERHEAD_BYTES + id.length * BYTES_PER_CODE_UNIT;
}
