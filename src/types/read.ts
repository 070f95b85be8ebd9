import type { CallOptions, JsonValue, Page, PageOptions } from './call.ts';
import type { Health, ReplicaFigures } from './health.ts';
import type { Merkle } from './merkle.ts';
import type { NewItem, Producer } from './write.ts';

/** A stored item: deep-frozen and shared between callers. */
export interface Item {
  readonly id: string;
  readonly content: JsonValue | Uint8Array;
  readonly contentType: 'json' | 'binary';
  /** SHA-256 of the stored bytes (the JSON text, or the binary itself), 64 hex digits. */
  readonly contentHash: string;
  readonly state: string;
  /** Stamp of the newest write that shaped it, in microseconds. */
  readonly version: number;
  /** When that was, in milliseconds since 1970. */
  readonly updatedAt: number;
}

export interface ItemStatus {
  readonly status: 'synced' | 'pending';
  readonly inL1: boolean;
  readonly inL2: boolean;
  readonly inL3: boolean;
  /** For `pending` the version on its way; for `synced` the stored one. */
  readonly version: number;
}

export type Status = ItemStatus | { readonly status: 'missing' };

/** Where an answer came from: `pending` is a write of this process that has not settled yet; `none`: no tier has it. */
export type TierName = 'pending' | 'l1' | 'l2' | 'l3' | 'none';

export interface GetOptions extends CallOptions {
  /**
   * Hash the content again and compare it with `contentHash`, and make the digest of a copy or row again from id, stamps, hash and
   * state: a copy in L1 or L2 that differs is replaced from L3, and a row in L3 that differs is a `CorruptItemError`. Digests are
   * compared where the reader has the store's `TIERLINE_MERKLE_KEY`, if there is one.
   * @default false
   */
  readonly verify?: boolean;
}

export interface Lookup {
  readonly found: boolean;
  readonly item?: Item;
  readonly tier: TierName;
}

export interface ScanOptions extends CallOptions {
  /** A page's `next` or a scan's `cursor`, of any process. */
  readonly after?: string;
}

/** Streams page by page with bounded memory. To be iterated once. */
export interface Scan<T> extends AsyncIterable<T> {
  /** The place after the last item handed out; undefined before the first. */
  readonly cursor: string | undefined;
}

/** Totals since the reader was opened, and how its filter and its place on the feed are now. */
export interface ReadCounters {
  /** `hits` counts what L1 answered, known absence included; `refusedFills` what a newer write kept out of it. */
  readonly l1: {
    readonly hits: number;
    readonly misses: number;
    readonly evictions: number;
    readonly expirations: number;
    readonly refusedFills: number;
    readonly flushes: number;
  };
  /** `skipped`: not asked, because the breaker was open. Ids, except `requests`, `failures` and `skipped` (requests). */
  readonly l2: {
    readonly hits: number;
    readonly misses: number;
    readonly requests: number;
    readonly failures: number;
    readonly skipped: number;
    /** Items read from L3 that were not kept in L2, because reads found more than it may be given meanwhile, or it took too long. */
    readonly unfilled: number;
  };
  readonly l3: {
    readonly hits: number;
    readonly misses: number;
    readonly requests: number;
    readonly failures: number;
  };
  /** Ids that replicas answered, and ids that they passed on to the primary; all 0 without replicas. */
  readonly replicas: {
    readonly hits: number;
    readonly misses: number;
    readonly passedOn: number;
    readonly requests: number;
    readonly failures: number;
    readonly servers: readonly ReplicaFigures[];
  };
  /**
   * `absent`: ids that the filter proved absent without SQL. `loads`: how often it was loaded. `trusted`: whether its word
   * counts now. `ids` and `sizeBytes` are 0 while there is none.
   */
  readonly filter: {
    readonly absent: number;
    readonly loads: number;
    readonly trusted: boolean;
    readonly ids: number;
    readonly sizeBytes: number;
  };
  /**
   * `live`: every entry up to the head has been delivered, of the feed of every partition. `entries`: number of the newest one
   * that was, by partition. `entry`: their sum.
   */
  readonly feed: { readonly live: boolean; readonly entry: number; readonly entries: readonly number[] };
}

export interface Reader extends AsyncDisposable {
  get(id: string, options?: GetOptions): Promise<Item | undefined>;
  /** As `get`, and says which tier answered. */
  lookup(id: string, options?: CallOptions): Promise<Lookup>;
  /** L1 only, synchronous: undefined says nothing about the other tiers. */
  peek(id: string): Item | undefined;
  /** In the order of `ids`. */
  getMany(ids: readonly string[], options?: CallOptions): Promise<(Item | undefined)[]>;
  /** Authoritative: asks L2 and the head of the change feed, and Postgres where they do not settle it. */
  contains(id: string, options?: CallOptions): Promise<boolean>;
  /** `!definitelyMissing(id)`. */
  mightExist(id: string): boolean;
  /** True: no durable item of this id had settled by the newest change this process has seen. */
  definitelyMissing(id: string): boolean;
  /** Whether `get` would return content of this hash. */
  isCurrent(id: string, contentHash: string, options?: CallOptions): Promise<boolean>;
  status(id: string, options?: CallOptions): Promise<Status>;
  /** Entries of L1, known absence included. */
  readonly size: number;
  /** Bytes they count against `l1MaxBytes`. */
  readonly sizeBytes: number;
  readonly isEmpty: boolean;
  getByState(state: string, options?: PageOptions): Promise<Page<Item>>;
  scanState(state: string, options?: ScanOptions): Scan<Item>;
  /** Exact. */
  countByState(state: string, options?: CallOptions): Promise<number>;
  listStateIds(state: string, options?: PageOptions): Promise<Page<string>>;
  /** Ids that begin with `prefix`, every character standing for itself; '' is all. */
  getByPrefix(prefix: string, options?: PageOptions): Promise<Page<Item>>;
  scanPrefix(prefix: string, options?: ScanOptions): Scan<Item>;
  /** Exact. */
  countPrefix(prefix: string, options?: CallOptions): Promise<number>;
  readonly counters: ReadCounters;
  /** Asks every backend once. Never rejects for what is away: that is what it tells. */
  health(options?: CallOptions): Promise<Health>;
  readonly merkle: Merkle;
  close(): Promise<void>;
}

export interface InsertOptions extends CallOptions {
  /** State of the item when it is written. */
  readonly state?: string;
}

export interface Store extends Producer, Reader {
  /**
   * The item, or what `factory` makes of it: one factory call per id and process at a time, its error given to all who
   * wait. When two processes race, both write, and once both have settled both read the one with the later stamp.
   */
  getOrInsertWith(
    id: string,
    factory: () => Promise<NewItem['content']> | NewItem['content'],
    options?: InsertOptions,
  ): Promise<Item>;
}
