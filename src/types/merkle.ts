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
  /**
   * Compares the tree with the stored digests of the rows and with itself, in one snapshot; reads every row. With `content` it
   * then compares the digests with the rows, each row as it is when it is read.
   */
  verify(options?: VerifyOptions): Promise<MerkleVerification>;
}
