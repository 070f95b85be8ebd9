import { pause } from '../abortable.ts';
import type { CallGate } from '../call-gate.ts';
import { InvalidItemError } from '../errors.ts';
import { checkComparable, type Comparable } from '../merkle/comparable.ts';
import { diffTrees } from '../merkle/diff.ts';
import { Digester } from '../merkle/digest.ts';
import { compareIds } from '../postgres/all-items.ts';
import {
  childrenOfAll,
  itemsOfAll,
  leafItemsOfAll,
  nodesOfAll,
  peerRowsOfAll,
  prefixOfAll,
  registersOfAll,
  rootOfAll,
  tombstoneWeeksOfAll,
} from '../postgres/all-nodes.ts';
import { readDeployment } from '../postgres/deployment.ts';
import { checkMerkleKey, merkleKeyCheck } from '../postgres/merkle-key.ts';
import { type Difference, type RowsChecked, verifyMerkle, verifyRows } from '../postgres/merkle-verify.ts';
import { readL3 } from '../postgres/pool.ts';
import type { Shard, Shards } from '../postgres/shards.ts';
import {
  callOptionsOf,
  diffOptionsOf,
  leafItemOptionsOf,
  leafOptionsOf,
  leavesOf,
  pageOptionsOf,
  peerIdsOf,
  peerOf,
  verifyOptionsOf,
} from '../schema/options.ts';
import { PEER_PROTOCOL } from '../schema/peer.ts';
import type { CallOptions, Page, PageOptions } from '../types/call.ts';
import type {
  DiffOptions,
  HashNode,
  LeafItem,
  LeafItemOptions,
  LeafOptions,
  Merkle,
  MerkleChild,
  MerkleDiff,
  MerkleNode,
  MerklePeer,
  MerkleVerification,
  PeerRows,
  Registers,
  TombstoneWeek,
  VerifyOptions,
} from '../types/merkle.ts';
import { cursorAfter, idOfCursor } from './paging.ts';

/** The rows, as a listing that cursors stand in. */
const ALL_ROWS = { by: 'verify', key: '', mayHold: () => true };
/** Rows that one verification tells of. */
const MAX_ROWS = 1000;

/** The Merkle tables, read. Exact in any snapshot: what is not folded yet is added. */
export class MerkleView implements Merkle {
  readonly #shards: Shards;
  readonly #gate: CallGate;
  readonly #merkleKey: string | undefined;

  constructor(shards: Shards, gate: CallGate, merkleKey: string | undefined) {
    this.#shards = shards;
    this.#gate = gate;
    this.#merkleKey = merkleKey;
  }

  /** @throws TierUnavailableError of L3, SchemaMissingError, ClosedError, or the signal's reason */
  root(options?: CallOptions): Promise<MerkleNode> {
    return this.#gate.call(callOptionsOf, options, () => rootOfAll(this.#shards));
  }

  /** @throws as `root`, InvalidItemError */
  prefix(path: string, options?: CallOptions): Promise<MerkleNode> {
    return this.#gate.call(callOptionsOf, options, async () => {
      checkPath(path);
      return prefixOfAll(this.#shards, path);
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
      const { children, next } = await childrenOfAll(this.#shards, path, from, limit);
      return next === undefined ? { items: children } : { items: children, next: cursorAfter(listing, next) };
    });
  }

  /** @throws as `prefix` */
  leaves(options?: LeafOptions & CallOptions): Promise<readonly HashNode[]> {
    return this.#gate.call(leafOptionsOf, options, ({ leaves }) => nodesOfAll(this.#shards, leaves));
  }

  /** @throws as `prefix` */
  leafItems(
    leaves: readonly number[],
    options?: LeafItemOptions & CallOptions,
  ): Promise<readonly LeafItem[]> {
    return this.#gate.call(leafItemOptionsOf, options, async ({ week }) => {
      const parsed = leavesOf(leaves);
      return leafItemsOfAll(this.#shards, parsed, week);
    });
  }

  /** @throws as `prefix` */
  itemsOf(ids: readonly string[], options?: LeafItemOptions & CallOptions): Promise<readonly LeafItem[]> {
    return this.#gate.call(leafItemOptionsOf, options, async ({ week }) => {
      const parsed = peerIdsOf(ids);
      return itemsOfAll(this.#shards, parsed, week);
    });
  }

  /** @throws as `root` */
  tombstoneWeeks(options?: CallOptions): Promise<readonly TombstoneWeek[]> {
    return this.#gate.call(callOptionsOf, options, () => tombstoneWeeksOfAll(this.#shards));
  }

  /** @throws as `prefix` */
  registers(ids: readonly string[], options?: CallOptions): Promise<readonly Registers[]> {
    return this.#gate.call(callOptionsOf, options, async () => {
      const parsed = peerIdsOf(ids);
      return registersOfAll(this.#shards, parsed);
    });
  }

  /** @throws as `prefix` */
  rows(ids: readonly string[], options?: CallOptions): Promise<PeerRows> {
    return this.#gate.call(callOptionsOf, options, async () => {
      const parsed = peerIdsOf(ids);
      return peerRowsOfAll(this.#shards, parsed);
    });
  }

  /** @throws as `prefix`, and what the peer throws */
  diff(peer: MerklePeer, options?: DiffOptions): Promise<MerkleDiff> {
    return this.#gate.call(diffOptionsOf, options, async ({ limit, recheckMs, signal }) => {
      const beforeRecheck = async () => {
        await pause(recheckMs, { signal });
        signal?.throwIfAborted();
      };
      const recheck = recheckMs === 0 ? undefined : beforeRecheck;
      return diffTrees(this, peerOf(peer), limit, recheck, this.#admit(peer));
    });
  }

  /** What another deployment must know before it compares itself with this one. @throws as `root` */
  async identity(): Promise<Comparable> {
    // All shards have the same.
    const { pool } = this.#shards.all[0] as Shard;
    const [{ id, partitions }, key] = await Promise.all([
      readDeployment(pool),
      merkleKeyCheck(pool, this.#merkleKey),
    ]);
    return { protocol: PEER_PROTOCOL, deployment: id, partitions, ...key };
  }

  /** @throws PeerRefusedError when it is another deployment's that cannot be compared */
  async #admit(peer: MerklePeer): Promise<void> {
    if (!isIdentified(peer)) return;
    const [own, other] = await Promise.all([this.identity(), peer.identity()]);
    // Two readers of one deployment agree.
    if (own.deployment !== other.deployment) checkComparable(own, other);
  }

  /** @throws as `prefix`; MerkleKeyError with `content` */
  verify(options?: VerifyOptions): Promise<MerkleVerification> {
    return this.#gate.call(verifyOptionsOf, options, async ({ content, after, onProgress, signal }) => {
      const from = idOfCursor(ALL_ROWS, after);
      if (content) await this.#shards.each(({ pool }) => checkMerkleKey(pool, this.#merkleKey));
      // Each shard by itself, with the rows that are on their way: its tree holds them too.
      const trees = await this.#shards.each(({ pool }) => readL3(() => verifyMerkle(pool)));
      const { rows, differences } = content
        ? await this.#verifyRows(from, onProgress, signal)
        : { rows: 0, differences: [] };
      const all = [...trees.flatMap((tree) => tree.differences), ...differences];
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
    // Each shard from where it was left. The one that is furthest back goes on, so a cursor names one place for all of them.
    const places = new Map<Shard, string>(this.#shards.all.map((shard) => [shard, from]));
    while (places.size > 0) {
      signal?.throwIfAborted();
      const [shard, place] = furthestBack(places);
      const checked: RowsChecked = await this.#shards.named(shard, () =>
        verifyRows(shard.pool, digester, place),
      );
      rows += checked.rows;
      for (const { id, fault } of checked.faults.slice(0, MAX_ROWS - differences.length)) {
        differences.push({ kind: fault, node: id, rows: 1, tree: 1 });
      }
      if (checked.last === undefined) places.delete(shard);
      else places.set(shard, checked.last);
      const last = places.size === 0 ? '' : furthestBack(places)[1];
      if (last !== '') onProgress?.({ rows, cursor: cursorAfter(ALL_ROWS, last) });
    }
    return { rows, differences };
  }
}

function isIdentified(peer: MerklePeer): peer is MerklePeer & Pick<MerkleView, 'identity'> {
  return 'identity' in peer && typeof peer.identity === 'function';
}

function checkPath(path: string): void {
  if (typeof path !== 'string' || path.includes('\0') || !path.isWellFormed()) {
    throw new InvalidItemError('path', 'must be text without NUL or lone surrogates');
  }
}

function furthestBack(places: ReadonlyMap<Shard, string>): readonly [Shard, string] {
  return [...places].reduce((a, b) => (compareIds(b[1], a[1]) < 0 ? b : a));
}
