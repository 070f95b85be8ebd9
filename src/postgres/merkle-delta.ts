import { inTransaction, type Pool, type Queryable } from './pool.ts';

/**
 * The Merkle delta of a batch as CTEs after `up`, the rows it wrote: (id, kh, gen, x0, x1) and what they replaced
 * (pgen, p0, p1; pgen is NULL for a row that is new). One row of `merkle_delta` a batch (design: "Merkle tables").
 *
 * Leaves are not summed here: of 65,536 hardly two rows of a batch share one, and the folder sums anyway. Grouping them
 * took 2 of the statement's 18 µs a row. A row that stays in its generation is one entry, not an old and a new one.
 */
export const MERKLE_DELTA_OF_UP = `
e AS (SELECT id, kh, gen, (pgen IS DISTINCT FROM gen)::int dn, x0 # CASE WHEN pgen = gen THEN p0 ELSE 0 END x0, x1 # CASE WHEN pgen = gen THEN p1 ELSE 0 END x1 FROM up
      UNION ALL SELECT id, kh, pgen, -1, p0, p1 FROM up WHERE pgen <> gen),
q AS (SELECT merkle_parent(id) par, sum(dn)::int n, bit_xor(x0) x0, bit_xor(x1) x1 FROM e WHERE gen=0 GROUP BY 1),
la AS (SELECT array_agg((gen<<16)|(kh>>15)) leaf, array_agg(dn) ln, array_agg(x0) l0, array_agg(x1) l1 FROM e),
pa AS (SELECT coalesce(array_agg(par),'{}') par, coalesce(array_agg(n),'{}') pn, coalesce(array_agg(x0),'{}') q0, coalesce(array_agg(x1),'{}') q1,
              coalesce(sum(n),0)::int tn, coalesce(bit_xor(x0),0) t0, coalesce(bit_xor(x1),0) t1 FROM q),
w AS (INSERT INTO merkle_delta (tn,t0,t1,leaf,ln,l0,l1,par,pn,q0,q1)
      SELECT tn,t0,t1,leaf,ln,l0,l1,par,pn,q0,q1 FROM la, pa WHERE leaf IS NOT NULL)`;

const FOLD = `
WITH mv AS (DELETE FROM merkle_delta WHERE seq IN (SELECT seq FROM merkle_delta ORDER BY seq LIMIT $1) RETURNING *),
l AS (SELECT u.leaf, sum(u.n)::bigint n, bit_xor(u.x0) x0, bit_xor(u.x1) x1 FROM mv, unnest(mv.leaf,ln,l0,l1) u(leaf,n,x0,x1) GROUP BY 1),
q AS (SELECT u.par, sum(u.n)::bigint n, bit_xor(u.x0) x0, bit_xor(u.x1) x1 FROM mv, unnest(mv.par,pn,q0,q1) u(par,n,x0,x1) GROUP BY 1),
a AS (SELECT a.path, sum(q.n)::bigint n, bit_xor(q.x0) x0, bit_xor(q.x1) x1 FROM q, merkle_ancestors(q.par) a(path) GROUP BY 1),
w1 AS (INSERT INTO merkle_leaf AS t SELECT * FROM l ORDER BY leaf
       ON CONFLICT (leaf) DO UPDATE SET n=t.n+EXCLUDED.n, x0=t.x0#EXCLUDED.x0, x1=t.x1#EXCLUDED.x1),
w2 AS (INSERT INTO merkle_path AS t SELECT path, CASE WHEN path='' THEN NULL ELSE merkle_parent(path) END, n, x0, x1 FROM a ORDER BY path COLLATE "C"
       ON CONFLICT (path) DO UPDATE SET n=t.n+EXCLUDED.n, x0=t.x0#EXCLUDED.x0, x1=t.x1#EXCLUDED.x1)
SELECT count(*)::int AS folded FROM mv`;

const FOLD_BATCH = 200;
/** Any fixed number: the advisory lock that makes the folder single. */
const FOLD_LOCK = 7_409_134_022;

/** Moves waiting deltas into the tree, a few hundred a transaction. Returns how many; 0 when another folder is at it. */
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

/** Tombstones of generations up to $1, a thousand at a time. */
const PURGE = `
WITH gone AS (DELETE FROM items WHERE id IN (SELECT id FROM items WHERE gen BETWEEN 1 AND $1 ORDER BY id LIMIT 1000 FOR UPDATE) RETURNING kh, gen, x0, x1),
l AS (SELECT (gen<<16)|(kh>>15) leaf, -count(*)::int n, bit_xor(x0) x0, bit_xor(x1) x1 FROM gone GROUP BY 1),
d AS (INSERT INTO merkle_delta (tn,t0,t1,leaf,ln,l0,l1,par,pn,q0,q1)
      SELECT 0,0,0,array_agg(leaf),array_agg(n),array_agg(x0),array_agg(x1),'{}','{}','{}','{}' FROM l HAVING count(*)>0)
SELECT count(*)::int AS purged FROM gone`;

const WEEK_US = 604_800_000_000;

/** Drops tombstones of whole weeks that ended before `stamp`. Returns how many. */
export async function purgeTombstones(db: Queryable, stamp: number): Promise<number> {
  // Generation g holds the stamps of week g - 1, which has ended once g weeks are over.
  const upTo = Math.floor(stamp / WEEK_US);
  let purged = 0;
  for (;;) {
    const { rows } = await db.query<{ purged: number }>(PURGE, [upTo]);
    const gone = rows[0]?.purged ?? 0;
    purged += gone;
    if (gone < 1000) return purged;
  }
}
