import { LEAVES } from '../merkle/digest.ts';
import type {
  HashNode,
  LeafItem,
  LeafOptions,
  MerkleChild,
  MerkleNode,
  TombstoneWeek,
} from '../types/merkle.ts';
import { IN_SCOPE, LEAF_IN_SCOPE, OTHERS_ROWS, type RowScope } from './deployment.ts';
import { DELTA_LEAVES, DELTA_PARENTS, NOT_EMPTY } from './merkle-delta.ts';
import type { Queryable } from './pool.ts';
import { DIGEST } from './read-items.ts';

/** Count and digest of all nodes together; zeros when there are none. */
const SUM = `coalesce(sum(item_count), 0)::bigint AS count,
  encode(int8send(coalesce(bit_xor(digest_hi), 0)) || int8send(coalesce(bit_xor(digest_lo), 0)), 'hex') AS digest`;

const NO_ITEMS: MerkleNode = { count: 0, digest: '0'.repeat(32) };

/** Count and digest of all live rows, waiting deltas included. */
export async function merkleRoot(db: Queryable, scope: RowScope = 'all'): Promise<MerkleNode> {
  const { rows } = await db.query<MerkleNode>(
    `SELECT ${SUM} FROM (
       SELECT item_count, digest_hi, digest_lo FROM merkle_path WHERE path = ''
       UNION ALL SELECT root_count, root_digest_hi, root_digest_lo FROM merkle_delta
       ${scope === 'all' ? '' : `UNION ALL SELECT -1, digest_hi, digest_lo FROM ${OTHERS_ROWS}`}) nodes`,
  );
  return rows[0] ?? NO_ITEMS;
}

/** The same of the live rows below one dotted prefix. */
export async function merklePrefix(
  db: Queryable,
  path: string,
  scope: RowScope = 'all',
): Promise<MerkleNode> {
  const others = `UNION ALL SELECT path, -1, digest_hi, digest_lo FROM ${OTHERS_ROWS}, merkle_ancestors(merkle_parent(id)) AS path`;
  const { rows } = await db.query<MerkleNode>(
    `SELECT ${SUM} FROM (
       SELECT path, item_count, digest_hi, digest_lo FROM merkle_path_now ${scope === 'all' ? '' : others}) nodes
     WHERE path = $1`,
    [path],
  );
  return rows[0] ?? NO_ITEMS;
}

/**
 * The prefixes one level below `path` that hold live items, in byte order from after `after`, waiting deltas included. A child
 * that stands in a waiting delta alone is among them; one that has become empty is left out.
 * @returns up to `limit` children, and the last path looked at if there may be more
 */
export async function merkleChildren(
  db: Queryable,
  path: string,
  after: string,
  limit: number,
  scope: RowScope = 'all',
): Promise<{ children: MerkleChild[]; next: string | undefined }> {
  const below = `path <> '' AND merkle_parent(path) = $1 AND path > $2 COLLATE "C"`;
  const others = `UNION ALL
         SELECT path, -1, digest_hi, digest_lo FROM ${OTHERS_ROWS}, merkle_ancestors(merkle_parent(id)) AS path WHERE ${below}`;
  const { rows } = await db.query<MerkleChild>(
    `SELECT path, ${SUM} FROM (
         (SELECT path, item_count, digest_hi, digest_lo FROM merkle_path WHERE parent = $1 AND path > $2 ORDER BY path LIMIT $3)
         UNION ALL
         SELECT path, item_count, digest_hi, digest_lo FROM merkle_delta, ${DELTA_PARENTS}, merkle_ancestors(parent) AS path
         WHERE ${below} ${scope === 'all' ? '' : others}) nodes
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

/**
 * Leaves below some nodes. Each node is a range of the table's key, so a comparison reads all 65,536 leaves once and not at every
 * depth. The deltas have no index and are read once.
 */
const LEAVES_WITHIN = `(
  SELECT below.* FROM unnest($3::int[]) AS node, LATERAL (
    SELECT leaf, item_count, digest_hi, digest_lo FROM merkle_leaf
    WHERE leaf >= $2 + (node << $4) AND leaf <= $2 + (node << $4) + ((1 << $4) - 1) OFFSET 0) below
  UNION ALL SELECT u.* FROM merkle_delta, ${DELTA_LEAVES} WHERE (leaf - $2) >> $4 = ANY($3)) AS within`;

/** The nodes of the hash tree of a week, 0 for the live one, at one depth that hold items, in order, waiting deltas included; one snapshot. */
export async function hashNodes(
  db: Queryable,
  { bits = LEAF_BITS, within, week = 0 }: LeafOptions,
  scope: RowScope = 'all',
): Promise<HashNode[]> {
  const outer = within === undefined ? [] : [[...new Set(within.nodes)], LEAF_BITS - within.bits];
  const { rows } = await db.query<HashNode>(
    `SELECT (leaf - $2) >> $1 AS node, ${SUM}
     FROM ${within === undefined ? 'merkle_leaf_now' : LEAVES_WITHIN}
     WHERE leaf >= $2 AND leaf <= $2 + ${LEAVES - 1}${LEAF_IN_SCOPE[scope]}
     GROUP BY 1 ${NOT_EMPTY} ORDER BY 1`,
    [LEAF_BITS - bits, week * LEAVES, ...outer],
  );
  return rows;
}

/** Count and digest of the tombstones of each week that has some, waiting deltas included. */
export async function tombstoneWeeks(db: Queryable, scope: RowScope = 'all'): Promise<TombstoneWeek[]> {
  const { rows } = await db.query<TombstoneWeek>(
    `SELECT leaf >> ${LEAF_BITS} AS week, ${SUM} FROM merkle_leaf_now WHERE leaf >= ${LEAVES}${LEAF_IN_SCOPE[scope]}
     GROUP BY 1 ${NOT_EMPTY} ORDER BY 1`,
  );
  return rows;
}

const LEAF_ITEM = `SELECT id, greatest(content_version, state_version) AS version, ${DIGEST} AS digest FROM items`;

/**
 * The rows of some leaves of a week, 0 for the live items, in no order. `OFFSET 0` keeps the look at each leaf by itself: in a table
 * that was not analysed yet, as when a repair fills an empty deployment, Postgres joins each leaf with all rows otherwise (1.5 s in
 * place of 4 ms for 1,000 leaves and 8,000 rows).
 */
export async function leafItems(
  db: Queryable,
  leaves: readonly number[],
  week = 0,
  scope: RowScope = 'all',
): Promise<LeafItem[]> {
  const { rows } = await db.query<LeafItem>(
    `SELECT found.* FROM unnest($1::int[]) leaf, LATERAL (
       ${LEAF_ITEM}
       WHERE tombstone_week = $2 AND id_hash >= leaf << 15 AND id_hash <= (leaf << 15) + 32767${IN_SCOPE[scope]} OFFSET 0) found`,
    [leaves, week],
  );
  return rows;
}

/** The rows with these ids that are of a week, 0 for the live items, in no order. */
export async function itemsOf(
  db: Queryable,
  ids: readonly string[],
  week = 0,
  scope: RowScope = 'all',
): Promise<LeafItem[]> {
  const { rows } = await db.query<LeafItem>(
    `${LEAF_ITEM} WHERE id = ANY($1) AND tombstone_week = $2${IN_SCOPE[scope]}`,
    [ids, week],
  );
  return rows;
}
