import { setTimeout as sleep } from 'node:timers/promises';
import { abortable } from '../abortable.ts';
import { InvalidItemError } from '../errors.ts';
import { diffTrees } from '../merkle/diff.ts';
import { merkleChildren } from '../postgres/merkle-children.ts';
import { hashNodes, leafItems } from '../postgres/merkle-leaves.ts';
import { merklePrefix, merkleRoot, verifyMerkle } from '../postgres/merkle-tables.ts';
import { type Pool, readL3 } from '../postgres/pool.ts';
import { diffOptionsOf, leafOptionsOf, leavesOf } from '../schema/merkle.ts';
import type {
  CallOptions,
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
  Page,
  PageOptions,
} from '../types.ts';
import { cursorAfter, idOfCursor } from './cursor.ts';
import { checkLimit, DEFAULT_LIMIT } from './page-limit.ts';

/** The Merkle tables, read. Exact in any snapshot: what is not folded yet is added. */
export class MerkleView implements Merkle {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** @throws TierUnavailableError of L3, SchemaMissingError */
  root(options?: CallOptions): Promise<MerkleNode> {
    return this.#read(() => merkleRoot(this.#pool), options);
  }

  /** @throws InvalidItemError, TierUnavailableError of L3, SchemaMissingError */
  async prefix(path: string, options?: CallOptions): Promise<MerkleNode> {
    checkPath(path);
    return this.#read(() => merklePrefix(this.#pool, path), options);
  }

  /** @throws as `prefix` */
  async children(path: string, options: PageOptions = {}): Promise<Page<MerkleChild>> {
    checkPath(path);
    const { limit = DEFAULT_LIMIT, after } = options;
    checkLimit(limit);
    const selection = { by: 'children', key: path } as const;
    const from = idOfCursor(selection, after);
    const { children, next } = await this.#read(() => merkleChildren(this.#pool, path, from, limit), options);
    return next === undefined ? { items: children } : { items: children, next: cursorAfter(selection, next) };
  }

  /** @throws as `prefix` */
  async leaves(options: LeafOptions & CallOptions = {}): Promise<readonly HashNode[]> {
    const parsed = leafOptionsOf(options);
    return this.#read(() => hashNodes(this.#pool, parsed), options);
  }

  /** @throws as `prefix` */
  async leafItems(leaves: readonly number[], options?: CallOptions): Promise<readonly LeafItem[]> {
    const parsed = leavesOf(leaves);
    return this.#read(() => leafItems(this.#pool, parsed), options);
  }

  /** @throws as `prefix`, and what the peer throws */
  async diff(peer: MerklePeer, options: DiffOptions = {}): Promise<MerkleDiff> {
    const { limit, recheckMs, signal } = diffOptionsOf(options);
    signal?.throwIfAborted();
    const pause = () => sleep(recheckMs, undefined, { signal });
    return abortable(diffTrees(this, peer, limit, pause), signal);
  }

  /** @throws TierUnavailableError of L3, SchemaMissingError */
  verify(options?: CallOptions): Promise<MerkleVerification> {
    return this.#read(() => verifyMerkle(this.#pool), options);
  }

  async #read<T>(work: () => Promise<T>, { signal }: CallOptions = {}): Promise<T> {
    signal?.throwIfAborted();
    return abortable(readL3(work), signal);
  }
}

function checkPath(path: string): void {
  if (typeof path !== 'string' || path.includes('\0') || !path.isWellFormed()) {
    throw new InvalidItemError('path', 'must be text without NUL or lone surrogates');
  }
}
