import type { TierlineError } from './errors.ts';
import type { OutcomeStatus } from './schema/feed.ts';

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/**
 * Where a write goes: L2 and L3, L2 only (`cache`, gone with its TTL or by eviction), or L3 only (`durable`: until the next write of
 * its content no copy goes into L2, by a `setState` or a read neither).
 */
export type Tiers = 'all' | 'cache' | 'durable';

export interface NewItem {
  /** 1 to 255 UTF-8 bytes, any text without NUL. */
  readonly id: string;
  readonly content: JsonValue | Uint8Array;
  /**
   * 1 to 64 UTF-8 bytes. Left out: the item keeps the state it has (`default` at first). A write with `tiers: 'cache'` looks at no
   * row, so without a state its item is in `default`, whatever the row below it has.
   */
  readonly state?: string;
  /** W3C trace context `traceparent` of the request that wrote it; kept beside the row. */
  readonly traceParent?: string;
}

export interface SubmitOptions {
  /** @default 'all' */
  readonly tiers?: Tiers;
  /**
   * Bounds the life of the L2 copy that this write makes, in milliseconds (1 or more). A `setState` leaves the life as it is. L3 keeps
   * the item: a read after the copy has ended makes another one, which lives for `backfillTtlMs`.
   */
  readonly ttlMs?: number;
  /** State of every item that names none itself. */
  readonly state?: string;
}

export interface CallOptions {
  /** Frees the caller; work that others share goes on. */
  readonly signal?: AbortSignal;
}

export interface WaitOptions extends CallOptions {
  /** Milliseconds to wait before a `SettleTimeoutError`. Left out: as long as it takes. */
  readonly timeoutMs?: number;
}

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

export interface Outcome {
  /**
   * `applied`: this write shaped the item. `superseded`: a newer one had already won. `missing`: there was no item to
   * change. `dead`: it was refused (Postgres did not take the data, or no worker could run the job) and stands in
   * `dead_letters` with `reason`.
   */
  readonly status: OutcomeStatus;
  /** The item's version once settled (for `dead`: the refused write's own stamp). */
  readonly version: number;
  readonly reason?: string;
}

export interface Ticket {
  readonly id: string;
  readonly version: number;
  settled(options?: WaitOptions): Promise<Outcome>;
}

export interface RangeOutcome {
  /**
   * How many items were live and are deleted now. An item that was written again after the call, and before its row was reached,
   * lives on with the later write and is not counted.
   */
  readonly deleted: number;
  /** How many rows Postgres refused to change: they stay as they were, and stand in `dead_letters` as deletes of their ids. */
  readonly dead: number;
}

export interface RangeTicket {
  readonly version: number;
  /** @throws JobRefusedError when Postgres refused the range delete as a whole */
  settled(options?: WaitOptions): Promise<RangeOutcome>;
}

export interface Rejection {
  readonly index: number;
  readonly id: string;
  readonly error: TierlineError;
}

export interface BatchOutcome {
  readonly total: number;
  /** Settled as `applied` or `superseded`: a newer write of the same id winning is not a failure. */
  readonly succeeded: number;
  /** Settled as `missing` or `dead`, plus those rejected at the call. */
  readonly failed: number;
  /** One an accepted item, in input order. */
  readonly outcomes: readonly Outcome[];
}

export interface BatchTicket {
  readonly total: number;
  readonly accepted: number;
  readonly rejected: readonly Rejection[];
  readonly tickets: readonly Ticket[];
  settled(options?: WaitOptions): Promise<BatchOutcome>;
}

/** How full the queue is, as Redis said `ageMs` ago: at most a second while anything waits and Redis answers. */
export interface Pressure {
  /**
   * `normal`. `warn`, from a ratio of 0.7: submits are delayed. `critical`, from 1: submits are refused, and from 1.2 deletes and
   * new states too. Also `critical` while Redis does not answer.
   */
  readonly level: 'normal' | 'warn' | 'critical';
  /** The largest of items, bytes and memory against their limits; 1 is full. */
  readonly ratio: number;
  /** Distinct ids whose newest write has not settled. */
  readonly waitingItems: number;
  /** What unsettled writes take in the queue. */
  readonly waitingBytes: number;
  /** Memory used by the queue's Redis as a share of its `maxmemory`; 0 when it has none. */
  readonly memoryShare: number;
  /** Age of the oldest unsettled chunk in milliseconds. */
  readonly oldestMs: number;
  /** How long ago Redis said so, in milliseconds. */
  readonly ageMs: number;
}

export interface Producer extends AsyncDisposable {
  submit(item: NewItem, options?: SubmitOptions & CallOptions): Promise<Ticket>;
  submitMany(
    items: readonly NewItem[],
    options?: SubmitOptions & CallOptions & { readonly atomic?: boolean },
  ): Promise<BatchTicket>;
  delete(id: string, options?: CallOptions): Promise<Ticket>;
  deleteMany(
    ids: readonly string[],
    options?: CallOptions & { readonly atomic?: boolean },
  ): Promise<BatchTicket>;
  /** Outcome `missing` when the id has no live item. */
  setState(id: string, state: string, options?: CallOptions): Promise<Ticket>;
  /** Deletes every item that has this state as of now; writes submitted later survive. */
  deleteByState(state: string, options?: CallOptions): Promise<RangeTicket>;
  /** Deletes every item whose id begins with this text as of now; writes submitted later survive. '' is refused. */
  deletePrefix(prefix: string, options?: CallOptions): Promise<RangeTicket>;
  /** Waits until everything this process submitted before has settled. */
  flush(options?: WaitOptions): Promise<void>;
  pressure(): Pressure;
  close(): Promise<void>;
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

/**
 * Count and digest of a set of live items. A digest covers id, content, state and both stamps: stores that hold the same
 * writes have equal nodes, in whatever order and batches the writes came. Stores that were filled separately differ although
 * their contents are the same.
 */
export interface MerkleNode {
  readonly count: number;
  /** 32 hex digits. */
  readonly digest: string;
}

/**
 * Whether the tree is that of the rows' *stored* digests. Digests are not computed again from contents, states and stamps: what
 * somebody changed in a row without its digest is not found here (`get(id, { verify: true })` hashes the content of one).
 */
export interface MerkleVerification {
  readonly ok: boolean;
  /** At most 1,000. */
  readonly differences: readonly {
    /**
     * `leaf`, `path`: a hash-tree leaf or dotted prefix whose count or digest is not that of its rows. `parent`: a prefix that hangs
     * under the wrong parent. `delta`: a batch not yet folded whose total is not the sum of its parts.
     */
    readonly kind: 'leaf' | 'path' | 'parent' | 'delta';
    /** Number of the leaf, prefix, or number of the batch. */
    readonly node: string;
    /** Items that should be counted there. */
    readonly rows: number;
    /** Items that the tree counts there; for a wrong parent none, because they are not found from it. */
    readonly tree: number;
  }[];
}

/** A dotted prefix one level below another. */
export interface MerkleChild extends MerkleNode {
  readonly path: string;
}

/** A node of the hash tree: the live items whose SHA-256(id) begins with the bits of `node`. */
export interface HashNode extends MerkleNode {
  readonly node: number;
}

export interface LeafOptions {
  /** Depth of the nodes: 8, 12 or 16 bits; nodes of 16 bits are the leaves. @default 16 */
  readonly bits?: 8 | 12 | 16;
  /** Only nodes below these of a smaller depth. */
  readonly within?: { readonly bits: 8 | 12; readonly nodes: readonly number[] };
}

export interface LeafItem {
  readonly id: string;
  readonly version: number;
  /** Digest of the row, 32 hex digits: id, both stamps, content and state. */
  readonly digest: string;
}

/** What a comparison needs of the other side: another reader's `merkle`, or one that asks a service elsewhere. */
export interface MerklePeer {
  /** All live items. */
  root(): Promise<MerkleNode>;
  leaves(options: LeafOptions): Promise<readonly HashNode[]>;
  leafItems(leaves: readonly number[]): Promise<readonly LeafItem[]>;
}

export interface DiffOptions extends CallOptions {
  /** Most differences told. @default 1000 */
  readonly limit?: number;
  /**
   * Milliseconds after which what differs is looked at again; only what differs in the same way twice is told, so give
   * writes the time they take to reach both sides. @default 1000
   */
  readonly recheckMs?: number;
}

/** An id whose live items differ; without `here` or `there` that side has none. */
export interface MerkleDifference {
  readonly id: string;
  /** Version on this side. */
  readonly here?: number;
  /** Version on the peer's side. */
  readonly there?: number;
}

export interface MerkleDiff {
  readonly differences: readonly MerkleDifference[];
  /** There are others beyond the limit. */
  readonly more: boolean;
}

export interface Merkle extends MerklePeer {
  /** All live items. */
  root(options?: CallOptions): Promise<MerkleNode>;
  /** All live items below one dotted prefix: `uk.nhs` holds `uk.nhs.patient.1`. */
  prefix(path: string, options?: CallOptions): Promise<MerkleNode>;
  /** The dotted prefixes one level below `path` that hold live items, in byte order; '' is the top. */
  children(path: string, options?: PageOptions): Promise<Page<MerkleChild>>;
  /** The nodes of the hash tree at one depth that hold live items. */
  leaves(options?: LeafOptions & CallOptions): Promise<readonly HashNode[]>;
  /** The live items of some leaves. */
  leafItems(leaves: readonly number[], options?: CallOptions): Promise<readonly LeafItem[]>;
  /** The live items that this store and a peer do not agree on, found through both trees. Nothing is changed. */
  diff(peer: MerklePeer, options?: DiffOptions): Promise<MerkleDiff>;
  /** Compares the tree with the stored digests of the rows and with itself, in one snapshot; reads every row. */
  verify(options?: CallOptions): Promise<MerkleVerification>;
}

/** Where an answer came from: `pending` is a write of this process that has not settled yet; `none`: no tier has it. */
export type TierName = 'pending' | 'l1' | 'l2' | 'l3' | 'none';

export interface GetOptions extends CallOptions {
  /**
   * Hash the content again and compare it with `contentHash`: a copy in L1 or L2 that differs is replaced from L3, and a
   * row in L3 that differs is a `CorruptItemError`.
   * @default false
   */
  readonly verify?: boolean;
}

export interface Lookup {
  readonly found: boolean;
  readonly item?: Item;
  readonly tier: TierName;
}

export interface PageOptions extends CallOptions {
  /** Most items of the page, 1 to 1,000. @default 100 */
  readonly limit?: number;
  /** `next` of the page before, of any process. */
  readonly after?: string;
}

/** Items in the order of their ids' bytes. A page of large items may be shorter than its limit. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Where the next page begins: pass it as `after`, in this process or another. Absent after the last page. */
  readonly next?: string;
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
  /** `live`: every entry up to the head has been delivered. `entry`: number of the newest one that was. */
  readonly feed: { readonly live: boolean; readonly entry: number };
}

export interface BackendHealth {
  readonly ok: boolean;
  /** Milliseconds it took to answer. */
  readonly latencyMs?: number;
  /** Why it did not. */
  readonly error?: string;
}

export interface Health {
  /**
   * `ok`: everything answers and the change feed is in sight. `degraded`: reads go on with less than that (docs/api.md says
   * which). `down`: neither L2 nor L3 can be asked.
   */
  readonly status: 'ok' | 'degraded' | 'down';
  /** Redis of the queue and the change feed. */
  readonly queue: BackendHealth;
  /** Redis of the L2 copies. */
  readonly cache: BackendHealth;
  readonly postgres: BackendHealth;
  readonly feed: { readonly live: boolean };
  readonly filter: { readonly trusted: boolean };
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
