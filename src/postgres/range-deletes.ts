import type { Stamp } from '../clock.ts';
import type { Row } from '../batch/fold.ts';
import type { Digest } from '../merkle/digest.ts';
import type { RangeJob } from '../schema/job.ts';
import { prefixRange } from '../schema/item.ts';
import { type RowNow, rowOfTuple, rowsNow, type RowTuple } from './apply-batch.ts';
import { digestHalfArray, textArray } from './arrays.ts';
import { MERKLE_DELTA_OF_UP } from './merkle-delta.ts';
import { type Queryable, readL3 } from './pool.ts';

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

const CONTENT_OLDER = '(t.content_version > 0 AND t.content_version < $1)';
const STATE_OLDER = '(t.state_version > 0 AND t.state_version < $1)';

/**
 * Overwrites the registers of existing rows that are older than one stamp, as if deleted at it, and appends the
 * batch's Merkle delta; one statement. An UPDATE of rows known to be there took half of what the guarded upsert of
 * the same rows does.
 */
const OVERWRITE = `
WITH up AS (
  UPDATE items AS t SET
    content_version = CASE WHEN ${CONTENT_OLDER} THEN $1 ELSE t.content_version END,
    deleted = t.deleted OR ${CONTENT_OLDER},
    content = CASE WHEN ${CONTENT_OLDER} THEN NULL ELSE t.content END,
    content_bytes = CASE WHEN ${CONTENT_OLDER} THEN NULL ELSE t.content_bytes END,
    content_hash = CASE WHEN ${CONTENT_OLDER} THEN NULL ELSE t.content_hash END,
    trace_parent = CASE WHEN ${CONTENT_OLDER} THEN NULL ELSE t.trace_parent END,
    state_version = CASE WHEN ${STATE_OLDER} THEN $1 ELSE t.state_version END,
    state = CASE WHEN ${STATE_OLDER} THEN 'default' ELSE t.state END,
    gen = item_gen(t.deleted OR ${CONTENT_OLDER}, greatest($1, t.content_version, t.state_version)),
    x0 = CASE WHEN ${CONTENT_OLDER} THEN i.c0 ELSE t.x0 # t.s0 END # CASE WHEN ${STATE_OLDER} THEN i.s0 ELSE t.s0 END,
    x1 = CASE WHEN ${CONTENT_OLDER} THEN i.c1 ELSE t.x1 # t.s1 END # CASE WHEN ${STATE_OLDER} THEN i.s1 ELSE t.s1 END,
    s0 = CASE WHEN ${STATE_OLDER} THEN i.s0 ELSE t.s0 END,
    s1 = CASE WHEN ${STATE_OLDER} THEN i.s1 ELSE t.s1 END,
    batch_id = $7::uuid, updated_at = now(), pgen = t.gen, p0 = t.x0, p1 = t.x1
  FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) i(id, c0, c1, s0, s1)
  WHERE t.id = i.id AND (${CONTENT_OLDER} OR ${STATE_OLDER})
  RETURNING t.id, t.content_version, t.state_version, t.state, t.deleted, t.kh, t.gen, t.x0, t.x1, t.pgen, t.p0, t.p1),
${MERKLE_DELTA_OF_UP}
SELECT (SELECT count(*) FROM up) AS written, (SELECT count(*) FROM up WHERE pgen = 0 AND gen > 0) AS died,
  (SELECT coalesce(json_agg(json_build_array(id, content_version, state_version, state, deleted)), '[]')
   FROM up WHERE content_version <> $1 OR state_version > 0) AS otherwise`;

export interface Overwritten {
  /** Live items that this made tombstones. */
  readonly died: number;
  /** Rows that are now anything but a tombstone of the stamp whose state was never written. */
  readonly otherwise: ReadonlyMap<string, RowNow>;
  /** Some rows carried nothing older any more and were left alone: every row stands in `otherwise`. */
  readonly partly: boolean;
}

/** @param rows by id, each once, with the digest of the content register as deleted at `stamp`. */
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
 * Whether a range delete that came after `stamp` covered the id, so that an older write of it has lost. For a range of a
 * state what counts is the state the item would have had at the range's stamp: what the write set, unless another was
 * set after it. The register's stamp tells: the range's own says that it was covered, a newer one hides what was before.
 * @param state what the write set; null: it set none.
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
       FROM range_deletes r LEFT JOIN items i ON i.id = $1 WHERE r.stamp > $2`,
      [id, stamp, state],
    ),
  );
  const covers = new Set(rows.map(({ cover }) => cover));
  return covers.has('covered') ? 'covered' : covers.has('hidden') ? 'hidden' : 'free';
}
