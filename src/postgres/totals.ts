import { readL3 } from './pool.ts';
import type { Queryable } from './pool.ts';

export interface Totals {
  /** Live items, by the Merkle tree: exact without a count over the rows. */
  readonly items: number;
  /** Batches whose Merkle deltas are not folded yet. */
  readonly merklePending: number;
  readonly deadLetters: number;
}

/**
 * Figures of the whole deployment in one statement and one snapshot.
 * @throws TierUnavailableError, SchemaMissingError
 */
export async function readTotals(db: Queryable): Promise<Totals> {
  const { rows } = await readL3(() =>
    db.query<{ items: number; pending: number; dead: number }>(
      `SELECT (coalesce((SELECT n FROM merkle_path WHERE path = ''), 0) + (SELECT coalesce(sum(tn), 0) FROM merkle_delta))::bigint AS items,
              (SELECT count(*) FROM merkle_delta)::bigint AS pending,
              (SELECT count(*) FROM dead_letters)::bigint AS dead`,
    ),
  );
  const row = rows[0];
  return { items: row?.items ?? 0, merklePending: row?.pending ?? 0, deadLetters: row?.dead ?? 0 };
}
