import type { Stamp } from '../clock.ts';
import { OTHERS_ROWS, type RowScope } from './deployment.ts';
import { type Queryable, readL3 } from './pool.ts';

export interface Totals {
  /** Live items. The Merkle tree knows how many, so no rows are counted. */
  readonly items: number;
  /** Batches whose Merkle deltas are not folded yet. */
  readonly merklePending: number;
  readonly deadLetters: number;
}

/**
 * Figures of one database in one statement and one snapshot.
 * @throws TierUnavailableError, SchemaMissingError
 */
export async function readTotals(db: Queryable, scope: RowScope = 'all'): Promise<Totals> {
  const others = `- (SELECT count(*) FROM ${OTHERS_ROWS})`;
  const { rows } = await readL3(() =>
    db.query<{ items: number; pending: number; dead: number }>(
      `SELECT (coalesce((SELECT item_count FROM merkle_path WHERE path = ''), 0) + (SELECT coalesce(sum(root_count), 0) FROM merkle_delta)
                ${scope === 'all' ? '' : others})::bigint AS items,
              (SELECT count(*) FROM merkle_delta)::bigint AS pending,
              (SELECT count(*) FROM dead_letters)::bigint AS dead`,
    ),
  );
  const row = rows[0];
  return { items: row?.items ?? 0, merklePending: row?.pending ?? 0, deadLetters: row?.dead ?? 0 };
}

/** The planner's estimate of the rows; 0 before the table was first analysed. */
export async function estimatedRows(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ rows: number }>(
    `SELECT greatest(reltuples, 0)::bigint AS rows FROM pg_class WHERE oid = 'items'::regclass`,
  );
  return rows[0]?.rows ?? 0;
}

/** The highest stamp of any row; 0 for an empty table. It reads every row: call it only at start, when Redis has lost its data. */
export async function highestStamp(db: Queryable): Promise<Stamp> {
  const { rows } = await db.query<{ stamp: Stamp }>(
    'SELECT coalesce(max(greatest(content_version, state_version)), 0)::bigint AS stamp FROM items',
  );
  return rows[0]?.stamp ?? 0;
}
