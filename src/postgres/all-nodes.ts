import { xorDigests, ZERO_DIGEST } from '../merkle/digest.ts';
import type {
  HashNode,
  LeafItem,
  LeafOptions,
  MerkleChild,
  MerkleNode,
  PeerRow,
  PeerRows,
  Registers,
  TombstoneWeek,
} from '../types/merkle.ts';
import { compareIds } from './all-items.ts';
import { textArray } from './arrays.ts';
import { IN_SCOPE, type RowScope } from './deployment.ts';
import {
  hashNodes,
  itemsOf,
  leafItems,
  merkleChildren,
  merklePrefix,
  merkleRoot,
  tombstoneWeeks,
} from './merkle-nodes.ts';
import type { Queryable } from './pool.ts';
import { DIGEST, SUM_BEFORE } from './read-items.ts';
import type { Shards } from './shards.ts';

/**
 * The Merkle tree of all shards. Nodes are sums, so the node of a deployment is that of its shards together, whatever their number.
 * All throw TierUnavailableError, which names the shard, and SchemaMissingError.
 */

export async function rootOfAll(shards: Shards): Promise<MerkleNode> {
  const { scope } = shards;
  return sumOf(await shards.whole(({ pool }) => merkleRoot(pool, scope)));
}

export async function prefixOfAll(shards: Shards, path: string): Promise<MerkleNode> {
  const { scope } = shards;
  return sumOf(await shards.whole(({ pool }) => merklePrefix(pool, path, scope)));
}

/** As `merkleChildren`. */
export async function childrenOfAll(
  shards: Shards,
  path: string,
  after: string,
  limit: number,
): Promise<{ readonly children: readonly MerkleChild[]; readonly next: string | undefined }> {
  const { scope } = shards;
  const parts = await shards.whole(({ pool }) => merkleChildren(pool, path, after, limit, scope));
  const [first] = parts;
  if (parts.length === 1 && first !== undefined) return first;
  // Behind the end of a page that has more, nodes of its shard may be missing.
  const end = parts.flatMap(({ next }) => (next === undefined ? [] : [next])).toSorted(compareIds)[0];
  const byPath = new Map<string, MerkleNode[]>();
  for (const child of parts.flatMap(({ children }) => children)) {
    if (end !== undefined && compareIds(child.path, end) > 0) continue;
    byPath.set(child.path, [...(byPath.get(child.path) ?? []), child]);
  }
  const children = Array.from(byPath, ([child, nodes]) => ({ path: child, ...sumOf(nodes) })).toSorted(
    (a, b) => compareIds(a.path, b.path),
  );
  return children.length > limit
    ? { children: children.slice(0, limit), next: children[limit - 1]?.path }
    : { children, next: end };
}

export async function nodesOfAll(shards: Shards, options: LeafOptions): Promise<HashNode[]> {
  const { scope } = shards;
  const parts = await shards.whole(({ pool }) => hashNodes(pool, options, scope));
  // A partition is a subtree, and no deeper than these nodes: no node is in two shards.
  return parts.length === 1 ? (parts[0] as HashNode[]) : parts.flat().toSorted((a, b) => a.node - b.node);
}

/** @param week as in `LeafOptions` */
export async function leafItemsOfAll(
  shards: Shards,
  leaves: readonly number[],
  week?: number,
): Promise<LeafItem[]> {
  const { scope } = shards;
  return (await shards.whole(({ pool }) => leafItems(pool, leaves, week, scope))).flat();
}

/** @param week as in `LeafOptions` */
export async function itemsOfAll(shards: Shards, ids: readonly string[], week?: number): Promise<LeafItem[]> {
  const { scope } = shards;
  return (await shards.whole(({ pool }) => itemsOf(pool, ids, week, scope))).flat();
}

export async function tombstoneWeeksOfAll(shards: Shards): Promise<TombstoneWeek[]> {
  const { scope } = shards;
  const parts = await shards.whole(({ pool }) => tombstoneWeeks(pool, scope));
  if (parts.length === 1) return parts[0] as TombstoneWeek[];
  const byWeek = new Map<number, TombstoneWeek[]>();
  for (const node of parts.flat()) byWeek.set(node.week, [...(byWeek.get(node.week) ?? []), node]);
  return Array.from(byWeek, ([week, nodes]) => ({ week, ...sumOf(nodes) })).toSorted(
    (a, b) => a.week - b.week,
  );
}

export async function registersOfAll(shards: Shards, ids: readonly string[]): Promise<Registers[]> {
  const { scope } = shards;
  return (await shards.whole(({ pool }) => readRegisters(pool, ids, scope))).flat();
}

/** As `readPeerRows`. Each shard answers for as many of the ids as it can; the least of them is what all answer for. */
export async function peerRowsOfAll(shards: Shards, ids: readonly string[]): Promise<PeerRows> {
  const { scope } = shards;
  const parts = await shards.whole(({ pool }) => readPeerRows(pool, ids, scope));
  if (parts.length === 1) return parts[0] as PeerRows;
  const answered = parts.reduce((least, part) => Math.min(least, part.answered), ids.length);
  const places = new Map(ids.map((id, place) => [id, place]));
  const place = ({ id }: PeerRow) => places.get(id) ?? 0;
  const rows = parts.flatMap((part) => part.rows).filter((row) => place(row) < answered);
  return { rows: rows.toSorted((a, b) => place(a) - place(b)), answered };
}

function sumOf(nodes: readonly MerkleNode[]): MerkleNode {
  return {
    count: nodes.reduce((sum, { count }) => sum + count, 0),
    digest: nodes.reduce((digest, node) => xorDigests(digest, node.digest), ZERO_DIGEST),
  };
}

/** Contents of one answer, in bytes. */
const ANSWER_BYTES = 4 * 1024 * 1024;

const REGISTERS = `id, content_version AS "contentVersion", deleted, coalesce(encode(content_hash, 'hex'), '') AS "contentHash",
  state_version AS "stateVersion", state`;

/** Both registers of the rows of `ids`, tombstones included, in no order. */
async function readRegisters(
  db: Queryable,
  ids: readonly string[],
  scope: RowScope = 'all',
): Promise<Registers[]> {
  const { rows } = await db.query<Registers>({
    name: `tierline-registers-${scope}`,
    text: `SELECT ${REGISTERS} FROM items WHERE id = ANY($1::text[])${IN_SCOPE[scope]}`,
    values: [textArray(ids)],
  });
  return rows;
}

/** Whole rows of the first ids, as many as fit into `ANSWER_BYTES`. */
async function readPeerRows(
  db: Queryable,
  ids: readonly string[],
  scope: RowScope = 'all',
): Promise<PeerRows> {
  const { rows } = await db.query<PeerRow & { place: number; found: number; sent: number }>({
    name: `tierline-peer-rows-${scope}`,
    // By stored sizes first, because they are known without reading the contents, then by the contents as they are sent.
    text: `SELECT * FROM (
             SELECT found, place, ${REGISTERS}, content_bytes IS NOT NULL AS binary, durable, trace_parent AS "traceParent",
               ${DIGEST} AS digest, body, ${SUM_BEFORE('octet_length(body)', 'place')} AS sent
             FROM (SELECT *, coalesce(content::text, replace(encode(content_bytes, 'base64'), E'\\n', ''), '') AS body
                   FROM (SELECT i.*, place::int, (count(*) OVER ())::int AS found,
                           ${SUM_BEFORE('coalesce(pg_column_size(content), pg_column_size(content_bytes), 0)', 'place')} AS stored
                         FROM unnest($1::text[]) WITH ORDINALITY AS asked (asked_id, place) JOIN items i ON i.id = asked_id${IN_SCOPE[scope]}) sized
                   WHERE stored < ${ANSWER_BYTES}) small) counted
           WHERE sent < ${ANSWER_BYTES} ORDER BY place`,
    values: [textArray(ids)],
  });
  const last = rows.at(-1);
  return {
    rows: rows.map(({ place: _place, found: _found, sent: _sent, ...row }) => row),
    answered: last === undefined || last.found === rows.length ? ids.length : last.place,
  };
}
