import type { MerkleChild } from '../types.ts';
import type { Queryable } from './pool.ts';

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
