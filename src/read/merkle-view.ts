import { pause } from '../abortable.ts';
import type { CallGate } from '../call-gate.ts';
import { InvalidItemError } from '../errors.ts';
import { diffTrees } from '../merkle/diff.ts';
import { Digester } from '../merkle/digest.ts';
import { hashNodes, leafItems, merkleChildren, merklePrefix, merkleRoot } from '../postgres/merkle-nodes.ts';
import { checkMerkleKey } from '../postgres/merkle-key.ts';
import { type Difference, verifyMerkle } from '../postgres/merkle-verify.ts';
import { type RowsChecked, verifyRows } from '../postgres/verify-rows.ts';
import { type Pool, readL3 } from '../postgres/pool.ts';
import {
  callOptionsOf,
  diffOptionsOf,
  leafOptionsOf,
  leavesOf,
  pageOptionsOf,
  peerOf,
  verifyOptionsOf,
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
  VerifyOptions,
} from '../types/merkle.ts';
import { cursorAfter, idOfCursor } from './paging.ts';

/** The rows, as a listing that cursors stand in. */
const ALL_ROWS = { by: 'verify', key: '', mayHold: () => true };
/** Rows that one verification tells of. */
const MAX_ROWS = 1000;

/** The Merkle tables, read. Exact in any snapshot: what is not folded yet is added. */
export class MerkleView implements Merkle {
  readonly #pool: Pool;
  readonly #gate: CallGate;
  readonly #merkleKey: string | undefined;

  constructor(pool: Pool, gate: CallGate, merkleKey: string | undefined) {
    this.#pool = pool;
    this.#gate = gate;
    this.#merkleKey = merkleKey;
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

  /** @throws as `prefix`; MerkleKeyError with `content` */
  verify(options?: VerifyOptions): Promise<MerkleVerification> {
    return this.#gate.call(verifyOptionsOf, options, async ({ content, after, onProgress, signal }) => {
      const from = idOfCursor(ALL_ROWS, after);
      if (content) await checkMerkleKey(this.#pool, this.#merkleKey);
      const tree = await readL3(() => verifyMerkle(this.#pool));
      const { rows, differences } = content
        ? await this.#verifyRows(from, onProgress, signal)
        : { rows: 0, differences: [] };
      const all = [...tree.differences, ...differences];
      return { ok: all.length === 0, rows, differences: all };
    });
  }

  async #verifyRows(
    from: string,
    onProgress: VerifyOptions['onProgress'],
    signal: AbortSignal | undefined,
  ): Promise<Pick<MerkleVerification, 'rows' | 'differences'>> {
    const digester = new Digester(this.#merkleKey);
    const differences: Difference[] = [];
    let rows = 0;
    for (let last: string | undefined = from; last !== undefined; ) {
      signal?.throwIfAborted();
      const checked: RowsChecked = await verifyRows(this.#pool, digester, last);
      rows += checked.rows;
      for (const { id, fault } of checked.faults.slice(0, MAX_ROWS - differences.length)) {
        differences.push({ kind: fault, node: id, rows: 1, tree: 1 });
      }
      last = checked.last;
      if (last !== undefined) onProgress?.({ rows, cursor: cursorAfter(ALL_ROWS, last) });
    }
    return { rows, differences };
  }
}

function checkPath(path: string): void {
  if (typeof path !== 'string' || path.includes('\0') || !path.isWellFormed()) {
    throw new InvalidItemError('path', 'must be text without NUL or lone surrogates');
  }
}
