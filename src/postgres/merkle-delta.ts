import { DEPLOYMENT_IN_TURN } from './deployment.ts';
import { inTransaction, type Pool, type Queryable } from './pool.ts';

/** The leaf of a row. Those of live rows are the 65,536 lowest; tombstones of each week have as many of their own. */
export const LEAF_OF_ROW = '(tombstone_week << 16) | (id_hash >> 15)';

const DIGESTS = 'bit_xor(digest_hi) AS digest_hi, bit_xor(digest_lo) AS digest_lo';
export const SUM_OF_ROWS = `count(*)::bigint AS item_count, ${DIGESTS}`;
export const SUM_OF_NODES = `sum(item_count)::bigint AS item_count, ${DIGESTS}`;

/** For sums of nodes: leaves out those without items. */
export const NOT_EMPTY = 'HAVING sum(item_count) <> 0 OR bit_xor(digest_hi) <> 0 OR bit_xor(digest_lo) <> 0';

/** The nodes in a row of `merkle_delta`. */
export const DELTA_LEAVES =
  'unnest(leaves, leaf_counts, leaf_digests_hi, leaf_digests_lo) AS u (leaf, item_count, digest_hi, digest_lo)';
export const DELTA_PARENTS =
  'unnest(parents, parent_counts, parent_digests_hi, parent_digests_lo) AS u (parent, item_count, digest_hi, digest_lo)';

const DELTA_COLUMNS = `root_count, root_digest_hi, root_digest_lo, leaves, leaf_counts, leaf_digests_hi, leaf_digests_lo,
  parents, parent_counts, parent_digests_hi, parent_digests_lo`;

/**
 * CTEs that add the batch's row to `merkle_delta`.
 *
 * Leaves are not summed here: there are 65,536, so hardly two rows of a batch share one, and the folder sums anyway. Grouping
 * them took 2 of the statement's 18 µs a row. Rows that are neighbours in the tree do share leaves; let `sumLeaves` be true for
 * those.
 * @param changes name of a CTE of (id, id_hash, tombstone_week, item_count, digest_hi, digest_lo)
 */
export function deltaOf(changes: string, sumLeaves = false): string {
  const leaves = sumLeaves
    ? `(SELECT ${LEAF_OF_ROW} AS leaf, sum(item_count)::int AS item_count, ${DIGESTS} FROM ${changes} GROUP BY 1) leaf_sums`
    : `(SELECT ${LEAF_OF_ROW} AS leaf, item_count, digest_hi, digest_lo FROM ${changes}) single`;
  return `live_parents AS (
  SELECT merkle_parent(id) AS parent, sum(item_count)::int AS item_count, ${DIGESTS} FROM ${changes} WHERE tombstone_week = 0 GROUP BY 1),
leaf_arrays AS (
  SELECT array_agg(leaf) AS leaves, array_agg(item_count) AS leaf_counts,
         array_agg(digest_hi) AS leaf_digests_hi, array_agg(digest_lo) AS leaf_digests_lo FROM ${leaves}),
parent_arrays AS (
  SELECT coalesce(array_agg(parent), '{}') AS parents, coalesce(array_agg(item_count), '{}') AS parent_counts,
         coalesce(array_agg(digest_hi), '{}') AS parent_digests_hi, coalesce(array_agg(digest_lo), '{}') AS parent_digests_lo,
         coalesce(sum(item_count), 0)::int AS root_count,
         coalesce(bit_xor(digest_hi), 0) AS root_digest_hi, coalesce(bit_xor(digest_lo), 0) AS root_digest_lo FROM live_parents),
delta AS (
  INSERT INTO merkle_delta (${DELTA_COLUMNS})
  SELECT ${DELTA_COLUMNS} FROM leaf_arrays, parent_arrays WHERE leaves IS NOT NULL)`;
}

/**
 * One statement that writes rows of `items AS t`, adds the batch's row to `merkle_delta` and replies (design: "Merkle tables"). A row that
 * stays live, or stays a tombstone of the same week, is one change and not a removal and an addition.
 * @param write an INSERT or UPDATE without RETURNING; it must set the `previous_…` columns of rows that were there
 * @param reply a SELECT from `written`
 */
export function withMerkleDelta(write: string, reply: string): string {
  return `
WITH written AS (${write}
  RETURNING t.id, t.content_version, t.content_hash, t.state_version, t.state, t.deleted, t.id_hash, t.tombstone_week, t.digest_hi, t.digest_lo,
            t.previous_week, t.previous_digest_hi, t.previous_digest_lo),
changes AS (
  SELECT id, id_hash, tombstone_week, (previous_week IS DISTINCT FROM tombstone_week)::int AS item_count,
         digest_hi # CASE WHEN previous_week = tombstone_week THEN previous_digest_hi ELSE 0 END AS digest_hi,
         digest_lo # CASE WHEN previous_week = tombstone_week THEN previous_digest_lo ELSE 0 END AS digest_lo
  FROM written
  UNION ALL
  SELECT id, id_hash, previous_week, -1, previous_digest_hi, previous_digest_lo FROM written WHERE previous_week <> tombstone_week),
${deltaOf('changes')}
${reply}`;
}

const ADD_NODE = `DO UPDATE SET item_count = t.item_count + EXCLUDED.item_count,
  digest_hi = t.digest_hi # EXCLUDED.digest_hi, digest_lo = t.digest_lo # EXCLUDED.digest_lo`;

const FOLD = `
WITH moved AS (DELETE FROM merkle_delta WHERE seq IN (SELECT seq FROM merkle_delta ORDER BY seq LIMIT $1) RETURNING *),
leaf_sums AS (SELECT leaf, ${SUM_OF_NODES} FROM moved, ${DELTA_LEAVES} GROUP BY 1),
parent_sums AS (SELECT parent, ${SUM_OF_NODES} FROM moved, ${DELTA_PARENTS} GROUP BY 1),
path_sums AS (SELECT path, ${SUM_OF_NODES} FROM parent_sums, merkle_ancestors(parent) AS path GROUP BY 1),
add_leaves AS (INSERT INTO merkle_leaf AS t SELECT * FROM leaf_sums ORDER BY leaf ON CONFLICT (leaf) ${ADD_NODE}),
add_paths AS (
  INSERT INTO merkle_path AS t
  SELECT path, CASE WHEN path = '' THEN NULL ELSE merkle_parent(path) END, item_count, digest_hi, digest_lo
  FROM path_sums ORDER BY path COLLATE "C" ON CONFLICT (path) ${ADD_NODE})
SELECT count(*)::int AS folded FROM moved`;

const FOLD_BATCH = 200;
/** Any fixed number: the advisory lock that lets one process fold at a time. */
const FOLD_LOCK = 7_409_134_022;

/** Moves waiting deltas into the tree, a few hundred a transaction. Returns how many; 0 when another process folds now. */
export async function foldDeltas(pool: Pool): Promise<number> {
  let folded = 0;
  for (;;) {
    const moved = await inTransaction(pool, async (db) => {
      const lock = await db.query<{ taken: boolean }>('SELECT pg_try_advisory_xact_lock($1) AS taken', [
        FOLD_LOCK,
      ]);
      if (lock.rows[0]?.taken !== true) return 0;
      const { rows } = await db.query<{ folded: number }>({
        name: 'tierline-fold',
        text: FOLD,
        values: [FOLD_BATCH],
      });
      return rows[0]?.folded ?? 0;
    });
    folded += moved;
    if (moved < FOLD_BATCH) return folded;
  }
}

const PURGE_BATCH = 1000;

/**
 * Deletes tombstones of weeks up to $1. They are in no prefix and not in the root. While the shard takes part in a move it deletes
 * none, because the copy of a partition is compared with its rows.
 */
const PURGE = `
WITH quiet AS (SELECT FROM ${DEPLOYMENT_IN_TURN} WHERE shard_map -> 'move' IS NULL FOR SHARE OF deployment),
purged AS (
  DELETE FROM items WHERE EXISTS (SELECT FROM quiet) AND id IN
    (SELECT id FROM items WHERE tombstone_week BETWEEN 1 AND $1 ORDER BY id LIMIT ${PURGE_BATCH} FOR UPDATE)
  RETURNING id, id_hash, tombstone_week, -1 AS item_count, digest_hi, digest_lo),
${deltaOf('purged')}
SELECT count(*)::int AS purged FROM purged`;

const WEEK_US = 604_800_000_000;

/** Deletes the tombstones of whole weeks that ended before `stamp`. Returns how many. */
export async function purgeTombstones(db: Queryable, stamp: number): Promise<number> {
  // `tombstone_week` is 1 + the week of the stamp, and that week has ended once as many weeks are over.
  const upTo = Math.floor(stamp / WEEK_US);
  let purged = 0;
  for (;;) {
    const { rows } = await db.query<{ purged: number }>(PURGE, [upTo]);
    const gone = rows[0]?.purged ?? 0;
    purged += gone;
    if (gone < PURGE_BATCH) return purged;
  }
}
