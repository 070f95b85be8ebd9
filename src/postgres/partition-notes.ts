import { inTransaction, type Pool, type Queryable } from './pool.ts';
import type { PartitionHashes } from './partition-rows.ts';

/**
 * What stands beside the rows of a partition: the marks of its range deletes and its dead letters. They travel as JSON text,
 * because they are few.
 */

/**
 * Copies the marks of range deletes that reach into the partition: those of its own, and older ones of the time when there
 * were fewer partitions. The first may be under way and go on at the target.
 */
export async function copyRangeMarks(
  source: Queryable,
  target: Queryable,
  { first, last }: PartitionHashes,
): Promise<void> {
  const { rows } = await source.query<{ marks: string }>(
    `SELECT coalesce(json_agg(r), '[]')::text AS marks FROM range_deletes r WHERE first_hash <= $2 AND last_hash >= $1`,
    [first, last],
  );
  await target.query(
    'INSERT INTO range_deletes SELECT * FROM json_populate_recordset(NULL::range_deletes, $1) ON CONFLICT DO NOTHING',
    [rows[0]?.marks ?? '[]'],
  );
}

/** Deletes what a database still has of a partition beside its rows: the marks that are its alone, and its filter. */
export async function removeNotes(
  db: Queryable,
  partition: number,
  { first, last }: PartitionHashes,
): Promise<void> {
  await db.query('DELETE FROM range_deletes WHERE first_hash >= $1 AND last_hash <= $2', [first, last]);
  await db.query('DELETE FROM filter_snapshots WHERE partition = $1', [partition]);
}

const LETTERS = 500;
const LETTER_BYTES = 4 * 1024 * 1024;

/** As `partitionOf` has it. $1: the partition, $2: how many there are. */
const OF_PARTITION = String.raw`(get_byte(sha256(convert_to(coalesce(substring(item_id from '^[^{]*\{([^}]+)\}'), item_id), 'UTF8')), 0) * $2::int) >> 8 = $1`;

/**
 * Moves the next dead letters of a partition. They get numbers of the target. Each is at one of the two at every moment, or at
 * both after a crash, and the next attempt ends that.
 * @returns how many; 0 when there are no more
 */
export async function moveDeadLetters(
  source: Pool,
  target: Pool,
  partition: number,
  partitions: number,
): Promise<number> {
  return inTransaction(source, async (db) => {
    const { rows } = await db.query<{ seqs: string[]; letters: string }>(
      `WITH next AS (
         SELECT seq, sum(octet_length(payload)) OVER (ORDER BY seq) - octet_length(payload) AS before
         FROM dead_letters WHERE ${OF_PARTITION} ORDER BY seq LIMIT ${LETTERS}),
       locked AS (
         SELECT * FROM dead_letters WHERE seq IN (SELECT seq FROM next WHERE before < ${LETTER_BYTES}) FOR UPDATE)
       SELECT coalesce(array_agg(seq), '{}') AS seqs, coalesce(json_agg(locked), '[]')::text AS letters FROM locked`,
      [partition, partitions],
    );
    const { seqs = [], letters = '[]' } = rows[0] ?? {};
    if (seqs.length === 0) return 0;
    await target.query(
      `INSERT INTO dead_letters (item_id, stamp, payload, sqlstate, message, attempts, chunk_id, died_at)
       SELECT item_id, stamp, payload, sqlstate, message, attempts, chunk_id, died_at
       FROM json_populate_recordset(NULL::dead_letters, $1) ORDER BY seq ON CONFLICT DO NOTHING`,
      [letters],
    );
    await db.query('DELETE FROM dead_letters WHERE seq = ANY($1)', [seqs]);
    return seqs.length;
  });
}
