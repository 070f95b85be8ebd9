import { LEAVES } from '../merkle/digest.ts';
import type { HashNode, LeafItem, LeafOptions, MerkleChild, MerkleNode } from '../types.ts';
import type { Queryable } from './pool.ts';

interface NodeRow {
  n: number;
  digest: string;
}

const NODE = `coalesce(sum(n), 0)::bigint AS n,
  encode(int8send(coalesce(bit_xor(x0), 0)) || int8send(coalesce(bit_xor(x1), 0)), 'hex') AS digest`;

/** Count and digest of all live rows, waiting deltas included. */
export async function merkleRoot(db: Queryable): Promise<MerkleNode> {
  const { rows } = await db.query<NodeRow>(
    `SELECT ${NODE} FROM (SELECT n, x0, x1 FROM merkle_path WHERE path = '' UNION ALL SELECT tn, t0, t1 FROM merkle_delta) z`,
  );
  return toNode(rows[0]);
}

/** The same below one dotted prefix. */
export async function merklePrefix(db: Queryable, path: string): Promise<MerkleNode> {
  const { rows } = await db.query<NodeRow>(`SELECT ${NODE} FROM merkle_path_now WHERE path = $1`, [path]);
  return toNode(rows[0]);
}

function toNode(row: NodeRow | undefined): MerkleNode {
  return { count: row?.n ?? 0, digest: row?.digest ?? '0'.repeat(32) };
}

/**
 * The prefixes one level below `path` that hold live items, in byte order from after `after`, waiting deltas included.
 * A child that waits in a delta alone stands beside the folded ones; one that emptied is left out.
 * @returns up to `limit` children, and the last path looked at if there may be more
 */
export async function merkleChildren(
  db: Queryable,
  path: string,
  after: string,
  limit: number,
): Promise<{ children: MerkleChild[]; next: string | undefined }> {
  const { rows } = await db.query<MerkleChild>(
    `SELECT path, sum(n)::bigint AS count, encode(int8send(bit_xor(x0)) || int8send(bit_xor(x1)), 'hex') AS digest FROM (
         (SELECT path, n, x0, x1 FROM merkle_path WHERE parent = $1 AND path > $2 ORDER BY path LIMIT $3)
         UNION ALL
         SELECT a, u.n, u.x0, u.x1 FROM merkle_delta d, unnest(d.par, d.pn, d.q0, d.q1) u(par, n, x0, x1), merkle_ancestors(u.par) a
         WHERE a <> '' AND merkle_parent(a) = $1 AND a > $2 COLLATE "C") z
       GROUP BY path ORDER BY path COLLATE "C" LIMIT $3`,
    [path, after, limit],
  );
  return {
    children: rows.filter(({ count }) => count !== 0),
    next: rows.length < limit ? undefined : rows.at(-1)?.path,
  };
}

/** Bits of SHA-256(id) that choose a leaf. */
const LEAF_BITS = 16;

/** The nodes of the live hash tree at one depth that hold anything, in order, waiting deltas included; one snapshot. */
export async function hashNodes(
  db: Queryable,
  { bits = LEAF_BITS, within }: LeafOptions,
): Promise<HashNode[]> {
  const { rows } = await db.query<HashNode>(
    `SELECT leaf >> $1 AS node, sum(n)::bigint AS count, encode(int8send(bit_xor(x0)) || int8send(bit_xor(x1)), 'hex') AS digest
     FROM merkle_leaf_now WHERE leaf < ${LEAVES} AND ($2::int[] IS NULL OR leaf >> $3 = ANY($2))
     GROUP BY 1 HAVING sum(n) <> 0 OR bit_xor(x0) <> 0 OR bit_xor(x1) <> 0 ORDER BY 1`,
    [LEAF_BITS - bits, within?.nodes ?? null, LEAF_BITS - (within?.bits ?? 0)],
  );
  return rows;
}

/** The live items of some leaves, in no order. */
export async function leafItems(db: Queryable, leaves: readonly number[]): Promise<LeafItem[]> {
  const { rows } = await db.query<LeafItem>(
    `SELECT id, greatest(content_version, state_version) AS version, encode(int8send(x0) || int8send(x1), 'hex') AS digest
     FROM unnest($1::int[]) leaf, items WHERE gen = 0 AND kh >= leaf << 15 AND kh <= (leaf << 15) + 32767`,
    [leaves],
  );
  return rows;
}
