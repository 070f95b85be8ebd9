import { pause } from '../abortable.ts';
import type { CallGate } from '../call-gate.ts';
import { InvalidItemError } from '../errors.ts';
import { diffTrees } from '../merkle/diff.ts';
import { hashNodes, leafItems, merkleChildren, merklePrefix, merkleRoot } from '../postgres/merkle-nodes.ts';
import { verifyMerkle } from '../postgres/merkle-verify.ts';
import { type Pool, readL3 } from '../postgres/pool.ts';
import {
  callOptionsOf,
  diffOptionsOf,
  leafOptionsOf,
  leavesOf,
  pageOptionsOf,
  peerOf,
} from '../schema/options.ts';
import type { CallOptions, Page, PageOptions } from '../types/call.ts';
import type {
  DiffOptions,
  HashNode,
  LeafItem,
  LeafOptions,
  Merkle,
  MerkleChild,
  MerkleDiff,
  MerkleNode,
  MerklePeer,
  MerkleVerification,
} from '../types/merkle.ts';
import { cursorAfter, idOfCursor } from './paging.ts';

/** The Merkle tables, read. Exact in any snapshot: what is not folded yet is added. */
export class MerkleView implements Merkle {
  readonly #pool: Pool;
  readonly #gate: CallGate;

  constructor(pool: Pool, gate: CallGate) {
    this.#pool = pool;
    this.#gate = gate;
  }

  /** @throws TierUnavailableError of L3, SchemaMissingError, ClosedError, or the signal's reason */
  root(options?: CallOptions): Promise<MerkleNode> {
    return this.#gate.call(callOptionsOf, options, () => readL3(() => merkleRoot(this.#pool)));
  }

  /** @throws as `root`, InvalidItemError */
  prefix(path: string, options?: CallOptions): Promise<MerkleNode> {
    return this.#gate.call(callOptionsOf, options, async () => {
      checkPath(path);
      return readL3(() => merklePrefix(this.#pool, path));
    });
  }

  /** @throws as `prefix` */
  children(path: string, options?: PageOptions): Promise<Page<MerkleChild>> {
    return this.#gate.call(pageOptionsOf, options, async ({ limit, after }) => {
      checkPath(path);
      const listing = {
        by: 'children',
        key: path,
        mayHold: (id: string) => path === '' || id.startsWith(`${path}.`),
      };
      const from = idOfCursor(listing, after);
      const { children, next } = await readL3(() => merkleChildren(this.#pool, path, from, limit));
      return next === undefined ? { items: children } : { items: children, next: cursorAfter(listing, next) };
    });
  }

  /** @throws as `prefix` */
  leaves(options?: LeafOptions & CallOptions): Promise<readonly HashNode[]> {
    return this.#gate.call(leafOptionsOf, options, ({ leaves }) =>
      readL3(() => hashNodes(this.#pool, leaves)),
    );
  }

  /** @throws as `prefix` */
  leafItems(leaves: readonly number[], options?: CallOptions): Promise<readonly LeafItem[]> {
    return this.#gate.call(callOptionsOf, options, async () => {
      const parsed = leavesOf(leaves);
      return readL3(() => leafItems(this.#pool, parsed));
    });
  }

  /** @throws as `prefix`, and what the peer throws */
  diff(peer: MerklePeer, options?: DiffOptions): Promise<MerkleDiff> {
    return this.#gate.call(diffOptionsOf, options, async ({ limit, recheckMs, signal }) => {
      const beforeRecheck = async () => {
        await pause(recheckMs, { signal });
        signal?.throwIfAborted();
      };
      return diffTrees(this, peerOf(peer), limit, beforeRecheck);
    });
  }

  /** @throws as `root` */
  verify(options?: CallOptions): Promise<MerkleVerification> {
    return this.#gate.call(callOptionsOf, options, () => readL3(() => verifyMerkle(this.#pool)));
  }
}

function checkPath(path: string): void {
  if (typeof path !== 'string' || path.includes('\0') || !path.isWellFormed()) {
    throw new InvalidItemError('path', 'must be text without NUL or lone surrogates');
  }
}
