import type { Stamp } from '../clock.ts';
import { prefixRange } from '../schema/prefix.ts';
import type { RangeJob } from '../schema/job.ts';
import type { Queryable } from './pool.ts';

export interface RangeProgress {
  /** `live` items first, then the tombstones, whose registers have to move too; then `done`. */
  readonly phase: 'live' | 'dead' | 'done';
  readonly afterId: string;
  /** Up to here in this phase L2 and the feed know of it too: after a crash the rows behind are told again. */
  readonly copiedTo: string;
  readonly deleted: number;
}

/** A row the range covers; its registers that are older than the range's stamp are to be overwritten. */
export interface RangeRow {
  readonly id: string;
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
}

/** Where the range delete is, begun here if it is new. Locked until the transaction ends: two workers take turns. */
export async function lockRange(db: Queryable, rangeId: string, job: RangeJob): Promise<RangeProgress> {
  await db.query(
    `INSERT INTO range_deletes (range_id, kind, value, stamp) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
    [rangeId, job.kind, job.value, job.stamp],
  );
  const { rows } = await db.query<RangeProgress>(
    `SELECT phase, after_id AS "afterId", copied_to AS "copiedTo", deleted FROM range_deletes WHERE range_id = $1 FOR UPDATE`,
    [rangeId],
  );
  return rows[0] ?? { phase: 'done', afterId: '', copiedTo: '', deleted: 0 };
}

export async function moveRange(db: Queryable, rangeId: string, progress: RangeProgress): Promise<void> {
  await db.query(
    `UPDATE range_deletes SET phase = $2, after_id = $3, deleted = $4, copied_to = $5, updated_at = now() WHERE range_id = $1`,
    [rangeId, progress.phase, progress.afterId, progress.deleted, progress.copiedTo],
  );
}

/**
 * The next rows of the range in id order, locked. A row counts whatever its content is, for what matters is each
 * register: one that was written before the range's stamp ends as if deleted at that stamp. That is what makes the result
 * the same whether a later write comes before or after (I2). A register that was never written stays so.
 */
export async function nextRangeRows(
  db: Queryable,
  job: RangeJob,
  { phase, afterId }: RangeProgress,
  limit: number,
): Promise<RangeRow[]> {
  const older =
    '((content_version > 0 AND content_version < $1) OR (state_version > 0 AND state_version < $1))';
  const dead = phase === 'dead' ? 'deleted' : 'NOT deleted';
  const columns = 'id, content_version AS "contentVersion", state_version AS "stateVersion"';
  if (job.kind === 'state') {
    const { rows } = await db.query<RangeRow>(
      `SELECT ${columns} FROM items WHERE state = $2 AND id > $3 AND state_version < $1 AND ${older} AND ${dead}
       ORDER BY id LIMIT $4 FOR UPDATE`,
      [job.stamp, job.value, afterId, limit],
    );
    return rows;
  }
  const { from, to } = prefixRange(job.value);
  const { rows } = await db.query<RangeRow>(
    `SELECT ${columns} FROM items WHERE id >= $2 AND id > $3 AND ($4::text IS NULL OR id < $4) AND ${older} AND ${dead}
     ORDER BY id LIMIT $5 FOR UPDATE`,
    [job.stamp, from, afterId, to ?? null, limit],
  );
  return rows;
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
