import type { MerkleNode, MerkleVerification } from '../types.ts';
import { inTransaction, type Pool, type Queryable } from './pool.ts';
import { TREE_CONTRADICTIONS } from './tree-checks.ts';

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

const MAX_DIFFERENCES = 1000;

/**
 * Leaves and prefixes as the stored digests of the rows give them against as the tree has them, and the tree against itself;
 * one statement, so one snapshot.
 */
const VERIFY = `
WITH live AS (SELECT merkle_parent(id) par, x0, x1 FROM items WHERE gen = 0),
want AS (
  SELECT 'leaf' kind, ((gen<<16)|(kh>>15))::text node, count(*)::bigint n, bit_xor(x0) x0, bit_xor(x1) x1 FROM items GROUP BY 2
  UNION ALL
  SELECT 'path', a, sum(n)::bigint, bit_xor(x0), bit_xor(x1)
  FROM (SELECT par, count(*) n, bit_xor(x0) x0, bit_xor(x1) x1 FROM live GROUP BY 1) p, merkle_ancestors(par) a GROUP BY 2),
have AS (
  SELECT 'leaf' kind, leaf::text node, sum(n)::bigint n, bit_xor(x0) x0, bit_xor(x1) x1 FROM merkle_leaf_now GROUP BY 2
  HAVING sum(n) <> 0 OR bit_xor(x0) <> 0 OR bit_xor(x1) <> 0
  UNION ALL
  SELECT 'path', path, sum(n)::bigint, bit_xor(x0), bit_xor(x1) FROM merkle_path_now GROUP BY 2
  HAVING sum(n) <> 0 OR bit_xor(x0) <> 0 OR bit_xor(x1) <> 0)
SELECT kind, node, coalesce(want.n, 0)::bigint AS rows, coalesce(have.n, 0)::bigint AS tree
FROM want FULL JOIN have USING (kind, node)
WHERE (want.n, want.x0, want.x1) IS DISTINCT FROM (have.n, have.x0, have.x1)
UNION ALL ${TREE_CONTRADICTIONS}
ORDER BY 1, 2 LIMIT ${MAX_DIFFERENCES}`;

/** Compares the tree with the stored digests of the rows, and with itself; reads every row, and no contents. */
export async function verifyMerkle(db: Queryable): Promise<MerkleVerification> {
  const { rows } = await db.query<MerkleVerification['differences'][number]>(VERIFY);
  return { ok: rows.length === 0, differences: rows };
}

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
