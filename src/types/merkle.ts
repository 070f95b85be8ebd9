import type { CallOptions, Page, PageOptions } from './call.ts';

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
 * Whether the tree is that of the rows' *stored* digests, and with `content: true` also whether these are the digests of what
 * the rows hold. Without it, what somebody changed in a row without its digest is not found.
 */
export interface MerkleVerification {
  readonly ok: boolean;
  /** Rows whose contents, digests and places were made again; 0 without `content`. */
  readonly rows: number;
  /** At most 1,000 of the tree and 1,000 of the rows. */
  readonly differences: readonly {
    /**
     * `leaf`, `path`: a hash-tree leaf or dotted prefix whose count or digest is not that of its rows. `parent`: a prefix that hangs
     * under the wrong parent. `delta`: a batch not yet folded whose total is not the sum of its parts.
     * Of rows: `content` is not what was hashed; `digest`: stamps, content hash or state are not what the digests were made of, or
     * the key is another; `place`: a row that is counted in another leaf than that of its id and stamps.
     */
    readonly kind: 'leaf' | 'path' | 'parent' | 'delta' | 'content' | 'digest' | 'place';
    /** Number of the leaf, prefix, number of the batch, or id of the row. */
    readonly node: string;
    /** Items that should be counted there. */
    readonly rows: number;
    /** Items that the tree counts there; for a wrong parent none, because they are not found from it. */
    readonly tree: number;
  }[];
}

export interface VerifyOptions extends CallOptions {
  /**
   * Makes content hash, digests and place of every row again, tombstones included. It needs the store's `merkleKey`. Contents do
   * not leave Postgres, and 2,000 rows are looked at at a time.
   * @default false
   */
  readonly content?: boolean;
  /** Where to go on with the rows: the `cursor` of a progress. @default the first row */
  readonly after?: string;
  /** Called after each 2,000 rows. */
  readonly onProgress?: (progress: VerifyProgress) => void;
}

export interface VerifyProgress {
  /** Rows checked by this call. */
  readonly rows: number;
  readonly cursor: string;
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
  /** In place of the live items the tombstones of this week, as `tombstoneWeeks` numbers them. @default 0, the live items */
  readonly week?: number;
}

/** Of the live items, or of the tombstones of a week. */
export interface LeafItemOptions {
  /** As in `LeafOptions`. @default 0 */
  readonly week?: number;
}

/** All tombstones whose newest stamp is of one week; purged together. */
export interface TombstoneWeek extends MerkleNode {
  /** 1 + weeks since 1970. */
  readonly week: number;
}

/** Both registers of a row, without the content. Register never written: its version is 0. */
export interface Registers {
  readonly id: string;
  readonly contentVersion: number;
  readonly deleted: boolean;
  /** SHA-256 of the content, hex; '' when deleted. */
  readonly contentHash: string;
  readonly stateVersion: number;
  readonly state: string;
}

/** A row as one deployment hands it to another. */
export interface PeerRow extends Registers {
  readonly binary: boolean;
  /** JSON text, or base64 when `binary`; '' when deleted. */
  readonly body: string;
  /** Its content is kept in Postgres alone. */
  readonly durable: boolean;
  readonly traceParent: string | null;
  /** As the sender has it, 32 hex digits: the receiver computes it again. */
  readonly digest: string;
}

/** What two deployments must know of each other before they compare. */
export interface PeerIdentity {
  /** Version of the peer protocol. */
  readonly protocol: number;
  /** Made once, with the first migration. */
  readonly deployment: string;
  /** It may differ: the tree does not depend on it. */
  readonly partitions: number;
  /** How digests are made, and a value that is equal for equal `TIERLINE_MERKLE_KEY`s. */
  readonly scheme: number;
  readonly keyCheck: string;
  /** Milliseconds after which tombstones are purged. */
  readonly purgeAfterMs: number;
}

/** What became of a row that was handed over. `refused`: it is not stored, and `reason` says why. */
export interface AcceptedRow {
  readonly id: string;
  readonly status: 'taken' | 'refused';
  readonly reason?: string;
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
  leafItems(leaves: readonly number[], options?: LeafItemOptions): Promise<readonly LeafItem[]>;
  /**
   * The same of rows by id; ids without one are left out. A peer without this method is asked for the leaves of the ids again. At most
   * 1,000 ids.
   */
  itemsOf?(ids: readonly string[], options?: LeafItemOptions): Promise<readonly LeafItem[]>;
}

/** What a repair needs of each side. */
export interface RepairPeer extends MerklePeer {
  identity(): Promise<PeerIdentity>;
  tombstoneWeeks(): Promise<readonly TombstoneWeek[]>;
  itemsOf(ids: readonly string[], options?: LeafItemOptions): Promise<readonly LeafItem[]>;
  /** Of the ids that have a row, tombstones included, in no order. At most 1,000 ids. */
  registers(ids: readonly string[]): Promise<readonly Registers[]>;
  /** The rows of the first ids, as many as 4 MiB hold, but at least one. At most 1,000 ids. */
  rows(ids: readonly string[]): Promise<PeerRows>;
  /**
   * Stores rows with their own stamps, each register only if it is newer than the one that is there. Resolves when they have
   * settled. At most 1,000 rows.
   */
  accept(rows: readonly PeerRow[]): Promise<readonly AcceptedRow[]>;
  /** When this side was last equal to another deployment, in milliseconds since 1970; left out where nothing is noted. */
  lastEqualAt?(deployment: string): Promise<number | undefined>;
  /** Notes that it is equal to another deployment now. */
  noteEqual?(deployment: string): Promise<void>;
}

export interface PeerRows {
  readonly rows: readonly PeerRow[];
  /** How many of the ids these answer for, in their order: those without a row are counted too. */
  readonly answered: number;
}

export interface RepairOptions extends CallOptions {
  /** `pull`: to this side only. `push`: to the peer only. @default 'both' */
  readonly direction?: 'pull' | 'push' | 'both';
  /** Compares and counts, and moves nothing. @default false */
  readonly dryRun?: boolean;
  /** Most rows moved a second. @default Infinity */
  readonly rate?: number;
  /**
   * Milliseconds after which what differs is looked at again; only what differs in the same way twice is moved. A row that is on its
   * way by itself need not be moved, but it does no harm. @default 0, for no second look
   */
  readonly recheckMs?: number;
  /** Called after each batch of rows. */
  readonly onProgress?: (progress: RepairCounts) => void;
}

/** Rows and the bytes of their contents. */
export interface Moved {
  readonly rows: number;
  readonly bytes: number;
}

export interface RepairCounts {
  /** From the peer to this side. With `dryRun`: that would be moved; then without bytes. */
  readonly pulled: Moved;
  /** From this side to the peer. */
  readonly pushed: Moved;
}

/** A row that a side did not take. */
export interface RefusedRow {
  readonly id: string;
  readonly side: 'here' | 'there';
  readonly reason: string;
}

export interface RepairResult extends RepairCounts {
  /** Both sides have the same rows, tombstones included. What is written meanwhile may be on its way to the other side. */
  readonly equal: boolean;
  /** Why they have not. */
  readonly reason?: string;
  /** Rows that still differ, as counted at the end: those that differed in the same way twice. */
  readonly left: number;
  /** At most 1,000. */
  readonly refused: readonly RefusedRow[];
}

export interface DiffOptions extends CallOptions {
  /** Most differences told. @default 1000 */
  readonly limit?: number;
  /**
   * Milliseconds after which what differs is looked at again; only what differs in the same way twice is told, so give
   * writes the time they take to reach both sides. 0: no second look, and writes on their way are told too. @default 1000
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
  leafItems(leaves: readonly number[], options?: LeafItemOptions & CallOptions): Promise<readonly LeafItem[]>;
  /** The live items with these ids; others are left out. At most 1,000 ids. */
  itemsOf(ids: readonly string[], options?: LeafItemOptions & CallOptions): Promise<readonly LeafItem[]>;
  /** The weeks that have tombstones, in order. */
  tombstoneWeeks(options?: CallOptions): Promise<readonly TombstoneWeek[]>;
  /** Both registers of rows, tombstones included; ids without a row are left out. At most 1,000 ids. */
  registers(ids: readonly string[], options?: CallOptions): Promise<readonly Registers[]>;
  /** Whole rows, as many as 4 MiB hold, but at least one. At most 1,000 ids. */
  rows(ids: readonly string[], options?: CallOptions): Promise<PeerRows>;
  /** The live items that this store and a peer do not agree on, found through both trees. Nothing is changed. */
  diff(peer: MerklePeer, options?: DiffOptions): Promise<MerkleDiff>;
  /**
   * Compares the tree with the stored digests of the rows and with itself, in one snapshot of each database; reads every row. A row
   * that was removed by SQL is told as its leaf and prefixes. With `content` it then compares the digests with the rows, each row as
   * it is when it is read. Columns that no digest holds (`trace_parent`, `durable`, times) are not checked.
   */
  verify(options?: VerifyOptions): Promise<MerkleVerification>;
}
