import { LEAVES } from '../merkle/digest.ts';
import type { HashNode, LeafItem, LeafOptions } from '../types.ts';
import type { Queryable } from './pool.ts';

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
