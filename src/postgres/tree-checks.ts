import { LEAVES } from '../merkle/digest.ts';

/**
 * What the tree has to say of itself, rows apart: selects of (kind, node, rows, tree), one row a contradiction.
 *
 * `parent`: a folded prefix that does not hang under its own parent, so `children` of that parent leave its items out.
 * `delta`: a batch whose total, which the root adds, is not the sum of its prefixes or of its live leaves.
 */
export const TREE_CONTRADICTIONS = `
SELECT 'parent' AS kind, path AS node, n AS rows, 0::bigint AS tree FROM merkle_path
WHERE parent IS DISTINCT FROM CASE WHEN path = '' THEN NULL ELSE merkle_parent(path) END
UNION ALL
SELECT 'delta', seq::text, p.n, tn FROM merkle_delta d,
  LATERAL (SELECT coalesce(sum(n), 0)::bigint AS n, coalesce(bit_xor(x0), 0) AS x0, coalesce(bit_xor(x1), 0) AS x1
           FROM unnest(d.pn, d.q0, d.q1) u(n, x0, x1)) p,
  LATERAL (SELECT coalesce(sum(n), 0)::bigint AS n, coalesce(bit_xor(x0), 0) AS x0, coalesce(bit_xor(x1), 0) AS x1
           FROM unnest(d.leaf, d.ln, d.l0, d.l1) u(leaf, n, x0, x1) WHERE leaf < ${LEAVES}) l
WHERE (tn, t0, t1) IS DISTINCT FROM (p.n, p.x0, p.x1) OR (tn, t0, t1) IS DISTINCT FROM (l.n, l.x0, l.x1)`;
