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
