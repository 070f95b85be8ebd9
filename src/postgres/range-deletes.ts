import type { Stamp } from '../clock.ts';
import { prefixRange } from '../schema/prefix.ts';
import type { RangeJob } from '../schema/job.ts';
import type { Queryable } from './pool.ts';

/** Where a range delete goes on. */
export interface RangePlace {
  /**
   * A prefix is one walk, `live`. A state is two, because its index is: the `dead` first, for a tombstone may come to life
   * meanwhile and is then found among the `live`; nothing goes the other way without newer registers.
   */
  readonly phase: 'dead' | 'live' | 'done';
  readonly afterId: string;
}

export interface RangeProgress extends RangePlace {
  /** Up to here in this phase L2 and the feed know of it too: after a crash the rows behind are told again. */
  readonly copiedTo: string;
  readonly deleted: number;
  /** Rows that Postgres would not change. */
  readonly refused: number;
}

/** Notes a range delete that is new. */
export async function beginRange(db: Queryable, rangeId: string, job: RangeJob): Promise<void> {
  await db.query(
    `INSERT INTO range_deletes (range_id, kind, value, stamp, phase) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
    [rangeId, job.kind, job.value, job.stamp, job.kind === 'state' ? 'dead' : 'live'],
  );
}

/** Where the range delete is. Locked until the transaction ends: two workers take turns. */
export async function lockRange(db: Queryable, rangeId: string): Promise<RangeProgress> {
  const { rows } = await db.query<RangeProgress>(
    `SELECT phase, after_id AS "afterId", copied_to AS "copiedTo", deleted, refused FROM range_deletes WHERE range_id = $1 FOR UPDATE`,
    [rangeId],
  );
  return rows[0] ?? { phase: 'done', afterId: '', copiedTo: '', deleted: 0, refused: 0 };
}

/**
 * For this transaction: rows are found by an index or not at all. The planner knows a batch's ids by their number only, and
 * on a table it has no statistics of it read and hashed all of it: 60 of 100 ms for 2,000 of 50,000 rows.
 */
export async function byIndexOnly(db: Queryable): Promise<void> {
  await db.query(
    'SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off',
  );
}

export async function moveRange(db: Queryable, rangeId: string, progress: RangeProgress): Promise<void> {
  await db.query(
    `UPDATE range_deletes SET phase = $2, after_id = $3, deleted = $4, copied_to = $5, refused = $6, updated_at = now() WHERE range_id = $1`,
    [rangeId, progress.phase, progress.afterId, progress.deleted, progress.copiedTo, progress.refused],
  );
}

/**
 * The next ids of the range in order. A row counts whatever its content is, for what matters is each register: one that
 * was written before the range's stamp ends as if deleted at that stamp. That is what makes the result the same whether a
 * later write comes before or after (I2). A register that was never written stays so. Not locked: nothing earlier is
 * on its way any more, so a row has something older until it is overwritten, or a later write has made it newer.
 */
export async function nextRangeIds(
  db: Queryable,
  job: RangeJob,
  { phase, afterId }: RangePlace,
  limit: number,
): Promise<string[]> {
  const query =
    job.kind === 'state'
      ? stateQuery(job, phase === 'dead' ? 'deleted' : 'NOT deleted')
      : prefixQuery(prefixRange(job.value));
  const { rows } = await db.query<{ id: string }>(
    `SELECT id FROM items
     WHERE ((content_version > 0 AND content_version < $1) OR (state_version > 0 AND state_version < $1))
       AND id > $2 AND ${query.where} ORDER BY id LIMIT $3`,
    [job.stamp, afterId, limit, ...query.values],
  );
  return rows.map(({ id }) => id);
}

function stateQuery({ value }: RangeJob, liveness: string): { where: string; values: unknown[] } {
  return { where: `state = $4 AND state_version < $1 AND ${liveness}`, values: [value] };
}

function prefixQuery({ from, to }: { from: string; to?: string | undefined }): {
  where: string;
  values: unknown[];
} {
  return { where: 'id >= $4 AND ($5::text IS NULL OR id < $5)', values: [from, to ?? null] };
}

/** Ids between two places of a range whose registers carry the range's stamp. */
export async function overwrittenIds(
  db: Queryable,
  job: RangeJob,
  { copiedTo, afterId }: RangeProgress,
): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    `SELECT id FROM items WHERE id > $2 AND id <= $3 AND (content_version = $1 OR state_version = $1) ORDER BY id`,
    [job.stamp, copiedTo, afterId],
  );
  return rows.map(({ id }) => id);
}

/** Forgets finished range deletes whose stamp lies below `stamp`. */
export async function purgeRanges(db: Queryable, stamp: Stamp): Promise<number> {
  const { rowCount } = await db.query(`DELETE FROM range_deletes WHERE phase = 'done' AND stamp < $1`, [
    stamp,
  ]);
  return rowCount ?? 0;
}
