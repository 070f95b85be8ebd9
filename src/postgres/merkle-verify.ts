import { LEAVES } from '../merkle/digest.ts';
import type { MerkleVerification } from '../types.ts';
import { type Queryable, readL3 } from './pool.ts';

/**
 * What the tree has to say of itself, rows apart: selects of (kind, node, rows, tree), one row a contradiction.
 *
 * `parent`: a folded prefix that does not hang under its own parent, so `children` of that parent leave its items out.
 * `delta`: a batch whose total, which the root adds, is not the sum of its prefixes or of its live leaves.
 */
const TREE_CONTRADICTIONS = `
SELECT 'parent' AS kind, path AS node, n AS rows, 0::bigint AS tree FROM merkle_path
WHERE parent IS DISTINCT FROM CASE WHEN path = '' THEN NULL ELSE merkle_parent(path) END
UNION ALL
SELECT 'delta', seq::text, p.n, tn FROM merkle_delta d,
  LATERAL (SELECT coalesce(sum(n), 0)::bigint AS n, coalesce(bit_xor(x0), 0) AS x0, coalesce(bit_xor(x1), 0) AS x1
           FROM unnest(d.pn, d.q0, d.q1) u(n, x0, x1)) p,
  LATERAL (SELECT coalesce(sum(n), 0)::bigint AS n, coalesce(bit_xor(x0), 0) AS x0, coalesce(bit_xor(x1), 0) AS x1
           FROM unnest(d.leaf, d.ln, d.l0, d.l1) u(leaf, n, x0, x1) WHERE leaf < ${LEAVES}) l
WHERE (tn, t0, t1) IS DISTINCT FROM (p.n, p.x0, p.x1) OR (tn, t0, t1) IS DISTINCT FROM (l.n, l.x0, l.x1)`;

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

type Difference = MerkleVerification['differences'][number];

export interface StepResult {
  /** Rows compared in this step. */
  readonly rows: number;
  readonly differences: readonly Difference[];
}

const LIVE_STEPS = 16;
/** The live leaves in slices, then the leaves of tombstones, then the prefixes, then the tree against itself. */
export const VERIFY_STEPS = LIVE_STEPS + 3;

const MAX_STEP_DIFFERENCES = 100;

const COMPARE = `
SELECT (SELECT coalesce(sum(n), 0) FROM want)::bigint AS rows, coalesce((SELECT json_agg(d) FROM (
  SELECT $1::text AS kind, node, coalesce(want.n, 0)::bigint AS rows, coalesce(have.n, 0)::bigint AS tree
  FROM want FULL JOIN have USING (node)
  WHERE (want.n, want.x0, want.x1) IS DISTINCT FROM (have.n, have.x0, have.x1)
  ORDER BY 2 LIMIT ${MAX_STEP_DIFFERENCES}) d), '[]') AS differences`;

const NOT_EMPTY = 'HAVING sum(n) <> 0 OR bit_xor(x0) <> 0 OR bit_xor(x1) <> 0';

/** Leaves $2 to $3 of the live tree; a leaf's rows are neighbours in the index on (gen, kh). */
const LIVE = `
WITH want AS (SELECT (kh >> 15)::text AS node, count(*)::bigint AS n, bit_xor(x0) AS x0, bit_xor(x1) AS x1 FROM items
  WHERE gen = 0 AND kh BETWEEN $2::bigint << 15 AND (($3::bigint + 1) << 15) - 1 GROUP BY 1),
have AS (SELECT leaf::text AS node, sum(n)::bigint AS n, bit_xor(x0) AS x0, bit_xor(x1) AS x1 FROM merkle_leaf_now
  WHERE leaf BETWEEN $2 AND $3 GROUP BY 1 ${NOT_EMPTY}) ${COMPARE}`;

const TOMBSTONES = `
WITH want AS (SELECT ((gen << 16) | (kh >> 15))::text AS node, count(*)::bigint AS n, bit_xor(x0) AS x0, bit_xor(x1) AS x1 FROM items
  WHERE gen > 0 GROUP BY 1),
have AS (SELECT leaf::text AS node, sum(n)::bigint AS n, bit_xor(x0) AS x0, bit_xor(x1) AS x1 FROM merkle_leaf_now
  WHERE leaf >= ${LEAVES} GROUP BY 1 ${NOT_EMPTY}) ${COMPARE}`;

/** Live rows once more, so they are not counted again. */
const PREFIXES = `
WITH live AS (SELECT merkle_parent(id) AS par, count(*) AS n, bit_xor(x0) AS x0, bit_xor(x1) AS x1 FROM items WHERE gen = 0 GROUP BY 1),
want AS (SELECT a AS node, sum(n)::bigint AS n, bit_xor(x0) AS x0, bit_xor(x1) AS x1 FROM live, merkle_ancestors(par) a GROUP BY 1),
have AS (SELECT path AS node, sum(n)::bigint AS n, bit_xor(x0) AS x0, bit_xor(x1) AS x1 FROM merkle_path_now
  GROUP BY 1 ${NOT_EMPTY}) ${COMPARE}`;

const CONTRADICTIONS = `
SELECT 0 AS rows, coalesce(json_agg(d), '[]') AS differences
FROM (SELECT * FROM (${TREE_CONTRADICTIONS}) c ORDER BY kind, node LIMIT ${MAX_STEP_DIFFERENCES}) d`;

/**
 * One step of comparing the tree with the stored digests of the rows and with itself, for a verification that tells how far it is and lets others work in
 * between. Each step is one statement and so one snapshot, and the tree is true in every snapshot (I5): steps need
 * not share one.
 * @param step 0 to `VERIFY_STEPS` - 1
 * @throws TierUnavailableError, SchemaMissingError
 */
export async function verifyStep(db: Queryable, step: number): Promise<StepResult> {
  const slice = LEAVES / LIVE_STEPS;
  const [text, values] =
    step < LIVE_STEPS
      ? [LIVE, ['leaf', step * slice, (step + 1) * slice - 1]]
      : step === LIVE_STEPS
        ? [TOMBSTONES, ['leaf']]
        : step === LIVE_STEPS + 1
          ? [PREFIXES, ['path']]
          : [CONTRADICTIONS, []];
  const { rows } = await readL3(() =>
    db.query<{ rows: number; differences: readonly Difference[] }>(text, values),
  );
  const { rows: compared, differences } = rows[0] ?? { rows: 0, differences: [] };
  return { rows: step > LIVE_STEPS ? 0 : compared, differences };
}
