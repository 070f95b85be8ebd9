import type { Stamp } from '../clock.ts';
import type { Row } from '../batch/fold.ts';
import type { HashRange } from '../lanes.ts';
import { type Digest, keyHash } from '../merkle/digest.ts';
import type { RangeJob } from '../schema/job.ts';
import { DEFAULT_STATE, prefixRange } from '../schema/item.ts';
import { ROW_TUPLE, type RowNow, rowOfTuple, rowsNow, type RowTuple } from './apply-batch.ts';
import { digestHalfArray, textArray } from './arrays.ts';
import { withMerkleDelta } from './merkle-delta.ts';
import { type Queryable, readL3 } from './pool.ts';

/** A range delete as one partition runs it: on its own rows, with a stamp of its own clock. */
export interface LaneRange extends RangeJob {
  readonly hashes: HashRange;
}

const WHOLE_TREE = { first: 0, last: 2 ** 31 - 1 };

/** Where a range delete continues. */
export interface RangePlace {
  /**
   * A prefix is one walk, `live`. A state is two, because each half of its rows has an index: first tombstones (`dead`), then
   * live rows. A tombstone that is revived meanwhile is then found in the walk of the live rows. A live row that is deleted
   * meanwhile has a newer stamp, so it need not be found.
   */
  readonly phase: 'dead' | 'live' | 'done';
  readonly afterId: string;
}

export interface RangeProgress extends RangePlace {
  /** L2 and the feed have all ids of this phase up to here. After a crash the ids behind it are sent again. */
  readonly copiedTo: string;
  readonly deleted: number;
  /** Rows that Postgres refused to change. */
  readonly refused: number;
}

/**
 * Inserts the row of a new range delete and returns where it begins. If there is nothing to change it is `done` at once, so an
 * empty range delete takes one statement. Undefined when it was begun before.
 *
 * The query for a first row is ordered as an index is, and compares the state with `>=` and `<=` in place of `=`. Otherwise the
 * planner, whose statistics of a growing table are old, reads the whole table.
 */
export async function beginRange(
  db: Queryable,
  rangeId: string,
  job: LaneRange,
): Promise<RangeProgress | undefined> {
  const phases: RangePlace['phase'][] = job.kind === 'state' ? ['dead', 'live'] : ['live'];
  const { values } = rowsOf(job, 'live');
  const someRow = phases.map((phase) => {
    const { where, order } = rowsOf(job, phase);
    return `(SELECT id FROM items WHERE ${where} ORDER BY ${order} LIMIT 1) IS NOT NULL`;
  });
  const { first, last } = job.hashes ?? WHOLE_TREE;
  const [id, kind, value, phase, from, to] = [1, 2, 3, 4, 5, 6].map((i) => `$${values.length + i}`);
  const { rows } = await db.query<RangeProgress>(
    `INSERT INTO range_deletes (range_id, kind, value, stamp, first_hash, last_hash, phase)
     SELECT ${id}::uuid, ${kind}, ${value}, $1, ${from}::int, ${to}::int, CASE WHEN ${someRow.join(' OR ')} THEN ${phase} ELSE 'done' END
     ON CONFLICT DO NOTHING
     RETURNING phase, after_id AS "afterId", copied_to AS "copiedTo", deleted, refused`,
    [...values, rangeId, job.kind, job.value, phases[0], first, last],
  );
  return rows[0];
}

/**
 * Reads where the range delete is, and locks its row until the transaction ends: two workers take turns. Undefined when there is
 * no such row.
 */
export async function lockRange(db: Queryable, rangeId: string): Promise<RangeProgress | undefined> {
  const { rows } = await db.query<RangeProgress>(
    `SELECT phase, after_id AS "afterId", copied_to AS "copiedTo", deleted, refused FROM range_deletes WHERE range_id = $1 FOR UPDATE`,
    [rangeId],
  );
  return rows[0];
}

/**
 * As `lockRange`, but begins the range delete again when its row is gone. A Postgres that failed over to a replica which lagged
 * has lost the row, and with it all that the range delete had deleted. If instead another worker ended the range delete and its
 * row was purged, only rows that Postgres refused can be left, and it soon ends.
 */
export async function lockOrBeginRange(
  db: Queryable,
  rangeId: string,
  job: LaneRange,
): Promise<RangeProgress> {
  const progress = (await lockRange(db, rangeId)) ?? (await beginRange(db, rangeId, job));
  // Undefined: another worker has begun it just now, so its row is there.
  return progress ?? lockOrBeginRange(db, rangeId, job);
}

/**
 * Makes this transaction find rows by index only. Without statistics the planner reads and hashes the whole table to find the
 * ids of a batch: that took 60 of 100 ms for 2,000 of 50,000 rows.
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
 * The next ids of the range in order. Each register that was written before the range's stamp becomes as if deleted at that
 * stamp, so tombstones are among the rows too. The result is then the same whether a later write comes before or after (I2). A
 * register that was never written stays so. The rows are not locked: all earlier writes have settled, so the registers of a row
 * can only get newer.
 */
export async function nextRangeIds(
  db: Queryable,
  job: LaneRange,
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

/** Whether a delete at the stamp $1 wins over the content (`schema/register-order.ts`). */
function contentOlder(row: string): string {
  return `(${row}.content_version > 0 AND (${row}.content_version < $1 OR (${row}.content_version = $1 AND NOT ${row}.deleted)))`;
}

function stateOlder(row: string): string {
  return `(${row}.state_version > 0 AND (${row}.state_version < $1 OR (${row}.state_version = $1 AND ${row}.state < '${DEFAULT_STATE}' COLLATE "C")))`;
}

/** The rows that a range delete has to change in one of its walks. $1 is its stamp. */
function rowsOf(
  { kind, value, stamp, hashes }: LaneRange,
  phase: RangePlace['phase'],
): { readonly where: string; readonly order: string; readonly values: readonly unknown[] } {
  const older = `(${contentOlder('items')} OR ${stateOlder('items')})`;
  if (kind === 'state') {
    const liveness = phase === 'dead' ? 'deleted' : 'NOT deleted';
    return {
      where: `${older} AND state >= $2 AND state <= $2 AND state_version < $1 AND ${liveness}${withinHashes(hashes, 3)}`,
      order: 'state, id',
      values: [stamp, value, ...boundsOf(hashes)],
    };
  }
  const { from, to } = prefixRange(value);
  return {
    where: `${older} AND id >= $2 AND ($3::text IS NULL OR id < $3)${withinHashes(hashes, 4)}`,
    order: 'id',
    values: [stamp, from, to ?? null, ...boundsOf(hashes)],
  };
}

/** @param at place of the first of its two parameters */
function withinHashes(hashes: HashRange, at: number): string {
  return hashes === undefined ? '' : ` AND id_hash >= $${at} AND id_hash <= $${at + 1}`;
}

function boundsOf(hashes: HashRange): readonly number[] {
  return hashes === undefined ? [] : [hashes.first, hashes.last];
}

/** Ids after `copiedTo` up to `afterId` of which a register has the range's stamp. */
export async function overwrittenIds(
  db: Queryable,
  job: LaneRange,
  { copiedTo, afterId }: RangeProgress,
): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    `SELECT id FROM items WHERE id > $2 AND id <= $3 AND (content_version = $1 OR state_version = $1)${withinHashes(job.hashes, 4)} ORDER BY id`,
    [job.stamp, copiedTo, afterId, ...boundsOf(job.hashes)],
  );
  return rows.map(({ id }) => id);
}

/** Deletes the rows of finished range deletes with a stamp below `stamp`. Returns how many. */
export async function purgeRanges(db: Queryable, stamp: Stamp): Promise<number> {
  const { rowCount } = await db.query(`DELETE FROM range_deletes WHERE phase = 'done' AND stamp < $1`, [
    stamp,
  ]);
  return rowCount ?? 0;
}

const CONTENT_OLDER = contentOlder('t');
const STATE_OLDER = stateOlder('t');

/** Half a row's digest as overwritten. */
function overwrittenDigest(half: 'hi' | 'lo'): string {
  return `CASE WHEN ${CONTENT_OLDER} THEN given.content_digest_${half} ELSE t.digest_${half} # t.state_digest_${half} END
       # CASE WHEN ${STATE_OLDER} THEN given.state_digest_${half} ELSE t.state_digest_${half} END`;
}

/**
 * Overwrites the registers of existing rows that are older than one stamp, as if they were deleted at it, and adds the batch's
 * Merkle delta. An UPDATE of rows that are known to exist takes half the time of the guarded upsert of the same rows.
 */
const OVERWRITE = withMerkleDelta(
  `
  UPDATE items AS t SET
    content_version = CASE WHEN ${CONTENT_OLDER} THEN $1 ELSE t.content_version END,
    deleted = t.deleted OR ${CONTENT_OLDER},
    ${['content', 'content_bytes', 'content_hash', 'trace_parent']
      .map((column) => `${column} = CASE WHEN ${CONTENT_OLDER} THEN NULL ELSE t.${column} END`)
      .join(', ')},
    state_version = CASE WHEN ${STATE_OLDER} THEN $1 ELSE t.state_version END,
    state = CASE WHEN ${STATE_OLDER} THEN 'default' ELSE t.state END,
    tombstone_week = tombstone_week_of(t.deleted OR ${CONTENT_OLDER}, greatest($1, t.content_version, t.state_version)),
    digest_hi = ${overwrittenDigest('hi')},
    digest_lo = ${overwrittenDigest('lo')},
    state_digest_hi = CASE WHEN ${STATE_OLDER} THEN given.state_digest_hi ELSE t.state_digest_hi END,
    state_digest_lo = CASE WHEN ${STATE_OLDER} THEN given.state_digest_lo ELSE t.state_digest_lo END,
    batch_id = $7::uuid, updated_at = now(),
    previous_week = t.tombstone_week, previous_digest_hi = t.digest_hi, previous_digest_lo = t.digest_lo
  FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
       AS given (id, content_digest_hi, content_digest_lo, state_digest_hi, state_digest_lo)
  WHERE t.id = given.id AND (${CONTENT_OLDER} OR ${STATE_OLDER})`,
  `SELECT (SELECT count(*) FROM written) AS written,
     (SELECT count(*) FROM written WHERE previous_week = 0 AND tombstone_week > 0) AS died,
     (SELECT coalesce(json_agg(${ROW_TUPLE}), '[]')
      FROM written WHERE content_version <> $1 OR state_version > 0) AS otherwise`,
);

export interface Overwritten {
  /** Live items that became tombstones. */
  readonly died: number;
  /** Rows that are not plain tombstones at this stamp. */
  readonly otherwise: ReadonlyMap<string, RowNow>;
  /** Some rows had become newer and were left alone. Then `otherwise` has all rows. */
  readonly partly: boolean;
}

/** @param rows each id once, with the digest of the content register as deleted at `stamp` */
export async function overwriteRows(
  db: Queryable,
  rows: readonly Row[],
  stateDigests: readonly Digest[],
  stamp: Stamp,
  batchId: string,
): Promise<Overwritten> {
  const contentDigests = rows.map((row) => row.contentDigest);
  const { rows: replies } = await db.query<{ written: number; died: number; otherwise: RowTuple[] }>({
    name: 'tierline-overwrite',
    text: OVERWRITE,
    values: [
      stamp,
      textArray(rows.map((row) => row.id)),
      digestHalfArray(contentDigests, 'first'),
      digestHalfArray(contentDigests, 'last'),
      digestHalfArray(stateDigests, 'first'),
      digestHalfArray(stateDigests, 'last'),
      batchId,
    ],
  });
  const { written, died, otherwise } = replies[0] ?? { written: 0, died: 0, otherwise: [] };
  const partly = written !== rows.length;
  const now = partly ? await rowsNow(db, rows) : otherwise.map(rowOfTuple);
  return { died, partly, otherwise: new Map(now.map((row) => [row.id, row])) };
}

/**
 * Whether a range delete after `stamp` covers the id, so that a write of that stamp must not be applied.
 *
 * A range of a state covers the item if the item would have had that state at the range's stamp: the state that the write set,
 * unless another was set after it. If the state register has the range's stamp, the range covered it. If it is newer, nobody knows
 * the state before: `hidden`.
 * @param state the state that the write set; null if it set none
 * @throws TierUnavailableError, SchemaMissingError
 */
export async function rangeCover(
  db: Queryable,
  id: string,
  stamp: Stamp,
  state: string | null,
): Promise<'covered' | 'free' | 'hidden'> {
  const { rows } = await readL3(() =>
    db.query<{ cover: 'covered' | 'free' | 'hidden' }>(
      `SELECT CASE
         WHEN r.kind = 'prefix' THEN CASE WHEN starts_with($1, r.value) THEN 'covered' ELSE 'free' END
         WHEN i.state_version = r.stamp THEN 'covered'
         WHEN i.state_version > r.stamp THEN 'hidden'
         WHEN r.value = CASE WHEN $3::text IS NOT NULL AND coalesce(i.state_version, 0) < $2 THEN $3
                             ELSE coalesce(i.state, 'default') END THEN 'covered'
         ELSE 'free' END AS cover
       FROM range_deletes r LEFT JOIN items i ON i.id = $1
       WHERE r.stamp > $2 AND $4 BETWEEN r.first_hash AND r.last_hash`,
      [id, stamp, state, keyHash(id)],
    ),
  );
  const covers = new Set(rows.map(({ cover }) => cover));
  return covers.has('covered') ? 'covered' : covers.has('hidden') ? 'hidden' : 'free';
}

/**
 * Keeps range deletes out until this transaction ends, so that it may write old stamps. Each range delete that has begun is in
 * the table when this returns, so `rangeCover` tells of it. Each one that begins later waits for this transaction and then finds
 * its rows, because `beginRange` looks for them in the statement that needs the table.
 *
 * Call it before the first row is written. A step of a range delete takes the table before its rows too (`lockRange`), so the two
 * never wait for each other.
 */
export async function holdRanges(db: Queryable): Promise<void> {
  await db.query('LOCK TABLE range_deletes IN EXCLUSIVE MODE');
}
