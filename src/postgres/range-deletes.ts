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

/**
 * Notes a range delete that is new and returns where it begins: at its end when no row is to be changed, so that a range delete
 * of nothing is one statement. Undefined when it was begun before.
 *
 * The first row is asked for in the order of an index, and the state as bounds and not as equal: with neither would the
 * planner, who knows little of a table that grows fast, look for it by reading the table.
 */
export async function beginRange(
  db: Queryable,
  rangeId: string,
  job: RangeJob,
): Promise<RangeProgress | undefined> {
  const phases: RangePlace['phase'][] = job.kind === 'state' ? ['dead', 'live'] : ['live'];
  const { values } = rowsOf(job, 'live');
  const someRow = phases.map((phase) => {
    const { where, order } = rowsOf(job, phase);
    return `(SELECT id FROM items WHERE ${where} ORDER BY ${order} LIMIT 1) IS NOT NULL`;
  });
  const [id, kind, value, phase] = [1, 2, 3, 4].map((i) => `$${values.length + i}`);
  const { rows } = await db.query<RangeProgress>(
    `INSERT INTO range_deletes (range_id, kind, value, stamp, phase)
     SELECT ${id}::uuid, ${kind}, ${value}, $1, CASE WHEN ${someRow.join(' OR ')} THEN ${phase} ELSE 'done' END
     ON CONFLICT DO NOTHING
     RETURNING phase, after_id AS "afterId", copied_to AS "copiedTo", deleted, refused`,
    [...values, rangeId, job.kind, job.value, phases[0]],
  );
  return rows[0];
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
  const { where, order, values } = rowsOf(job, phase);
  const { rows } = await db.query<{ id: string }>(
    `SELECT id FROM items WHERE ${where} AND id > $${values.length + 1} ORDER BY ${order} LIMIT $${values.length + 2}`,
    [...values, afterId, limit],
  );
  return rows.map(({ id }) => id);
}

/** The rows that a range delete has to change in one of its walks; $1 is its stamp. */
function rowsOf(
  { kind, value, stamp }: RangeJob,
  phase: RangePlace['phase'],
): { readonly where: string; readonly order: string; readonly values: readonly unknown[] } {
  const older =
    '((content_version > 0 AND content_version < $1) OR (state_version > 0 AND state_version < $1))';
  if (kind === 'state') {
    const liveness = phase === 'dead' ? 'deleted' : 'NOT deleted';
    return {
      where: `${older} AND state >= $2 AND state <= $2 AND state_version < $1 AND ${liveness}`,
      order: 'state, id',
      values: [stamp, value],
    };
  }
  const { from, to } = prefixRange(value);
  return {
    where: `${older} AND id >= $2 AND ($3::text IS NULL OR id < $3)`,
    order: 'id',
    values: [stamp, from, to ?? null],
  };
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
