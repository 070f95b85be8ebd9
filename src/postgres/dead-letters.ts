import type { Stamp } from '../clock.ts';
import { sum } from './all-items.ts';
import { int8Array, textArray } from './arrays.ts';
import { type Queryable, readL3 } from './pool.ts';
import type { Shard, Shards } from './shards.ts';

export interface NewDeadLetter {
  readonly itemId: string;
  readonly stamp: Stamp;
  readonly chunkId: string;
  /** The operation as queued: JSON text. */
  readonly payload: string;
  readonly sqlState: string | undefined;
  readonly message: string;
}

/**
 * Stores operations that Postgres refused. An operation that is refused again counts one more attempt. If it is in `given` twice
 * (it was replayed twice), it is written once: one statement cannot write a row two times.
 */
export async function insertDeadLetters(db: Queryable, given: readonly NewDeadLetter[]): Promise<void> {
  const letters = [...new Map(given.map((letter) => [`${letter.stamp} ${letter.itemId}`, letter])).values()];
  await db.query(
    `INSERT INTO dead_letters AS d (item_id, stamp, chunk_id, payload, sqlstate, message)
     SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
     ON CONFLICT (item_id, stamp) DO UPDATE SET attempts = d.attempts + 1, message = EXCLUDED.message,
       sqlstate = EXCLUDED.sqlstate, died_at = now()`,
    [
      textArray(letters.map((letter) => letter.itemId)),
      int8Array(letters.map((letter) => letter.stamp)),
      textArray(letters.map((letter) => letter.chunkId)),
      textArray(letters.map((letter) => letter.payload)),
      textArray(letters.map((letter) => letter.sqlState ?? null)),
      textArray(letters.map((letter) => letter.message)),
    ],
  );
}

/** A row of `dead_letters` without its payload. */
export interface DeadLetter {
  readonly seq: number;
  readonly itemId: string;
  readonly stamp: Stamp;
  readonly chunkId: string;
  readonly sqlState: string | undefined;
  readonly message: string;
  readonly attempts: number;
  /** When it was refused last, in milliseconds since 1970. */
  readonly diedAtMs: number;
  readonly payloadBytes: number;
}

export interface DeadLetterWithPayload extends DeadLetter {
  /** The operation as queued: JSON text. */
  readonly payload: string;
}

type DeadLetterRow = Omit<DeadLetter, 'sqlState'> & { readonly sqlState: string | null };

const COLUMNS = `seq, item_id AS "itemId", stamp, chunk_id AS "chunkId", sqlstate AS "sqlState", message, attempts,
  (extract(epoch FROM died_at) * 1000)::bigint AS "diedAtMs", octet_length(payload) AS "payloadBytes"`;

function fromRow<T extends DeadLetterRow>(row: T): Omit<T, 'sqlState'> & { sqlState: string | undefined } {
  return { ...row, sqlState: row.sqlState ?? undefined };
}

/** The newest dead letters; with `before`, those whose `seq` is below it. @throws TierUnavailableError, SchemaMissingError */
export async function listDeadLetters(
  db: Queryable,
  limit: number,
  before: number = Number.MAX_SAFE_INTEGER,
): Promise<DeadLetter[]> {
  const { rows } = await readL3(() =>
    db.query<DeadLetterRow>(`SELECT ${COLUMNS} FROM dead_letters WHERE seq < $1 ORDER BY seq DESC LIMIT $2`, [
      before,
      limit,
    ]),
  );
  return rows.map(fromRow);
}

/** @throws TierUnavailableError, SchemaMissingError */
async function findDeadLetter(db: Queryable, seq: number): Promise<DeadLetterWithPayload | undefined> {
  const { rows } = await readL3(() =>
    db.query<DeadLetterRow & { payload: string }>(
      `SELECT ${COLUMNS}, payload FROM dead_letters WHERE seq = $1`,
      [seq],
    ),
  );
  return rows.map(fromRow)[0];
}

/** All dead letters of one chunk, in the order of their stamps. @throws TierUnavailableError, SchemaMissingError */
export async function deadLettersOfChunk(db: Queryable, chunkId: string): Promise<DeadLetterWithPayload[]> {
  const { rows } = await readL3(() =>
    db.query<DeadLetterRow & { payload: string }>(
      `SELECT ${COLUMNS}, payload FROM dead_letters WHERE chunk_id = $1 ORDER BY stamp`,
      [chunkId],
    ),
  );
  return rows.map(fromRow);
}

/**
 * Whether every register that these operations write has their value or a newer one. A newer state says nothing about the
 * content, nor the other way round. Operations for L2 alone are left out: Postgres does not know them.
 * @throws TierUnavailableError, SchemaMissingError
 */
async function areApplied(db: Queryable, seqs: readonly number[]): Promise<boolean> {
  // Only rows of other deployments have a `stateStamp`. The others write both registers with one stamp.
  const { rows } = await readL3(() =>
    db.query<{ missing: boolean }>(
      `SELECT EXISTS (
         SELECT FROM dead_letters d
           CROSS JOIN json_to_record(d.payload::json) AS p (kind text, tiers text, state text, "stateStamp" bigint)
           LEFT JOIN items i ON i.id = d.item_id
         WHERE d.seq = ANY($1::bigint[]) AND p.tiers <> 'cache' AND (i.id IS NULL
           OR (p.kind <> 'setState' AND i.content_version < d.stamp)
           OR ((p.kind IN ('setState', 'delete') OR p.state IS NOT NULL)
             AND i.state_version < coalesce(p."stateStamp", d.stamp)))) AS missing`,
      [int8Array(seqs)],
    ),
  );
  return rows[0]?.missing !== true;
}

/** Returns how many were there. */
async function deleteDeadLetters(db: Queryable, seqs: readonly number[]): Promise<number> {
  const { rowCount } = await readL3(() =>
    db.query('DELETE FROM dead_letters WHERE seq = ANY($1::bigint[])', [int8Array(seqs)]),
  );
  return rowCount ?? 0;
}

/** Deletes those that were refused before `beforeMs`. Returns how many. @throws TierUnavailableError, SchemaMissingError */
async function purgeDeadLetters(db: Queryable, beforeMs: number): Promise<number> {
  const { rowCount } = await readL3(() =>
    db.query('DELETE FROM dead_letters WHERE died_at < to_timestamp($1::float8)', [beforeMs / 1000]),
  );
  return rowCount ?? 0;
}

/**
 * The dead letters of all shards. Each shard numbers its own from a place of its own (`migrate-shards.ts`), so a number tells one
 * letter. All throw TierUnavailableError, which names the shard, and SchemaMissingError.
 */

/** As `listDeadLetters`: by their numbers, so letters of one shard come together. */
export async function listLetters(shards: Shards, limit: number, before?: number): Promise<DeadLetter[]> {
  const lists = await ofAll(shards, ({ pool }) => listDeadLetters(pool, limit, before));
  return lists
    .flat()
    .toSorted((a, b) => b.seq - a.seq)
    .slice(0, limit);
}

export async function findLetter(shards: Shards, seq: number): Promise<DeadLetterWithPayload | undefined> {
  const found = await ofAll(shards, ({ pool }) => findDeadLetter(pool, seq));
  return found.find((letter) => letter !== undefined);
}

export async function lettersOfChunk(shards: Shards, chunkId: string): Promise<DeadLetterWithPayload[]> {
  const lists = await ofAll(shards, ({ pool }) => deadLettersOfChunk(pool, chunkId));
  return lists.flat().toSorted((a, b) => a.stamp - b.stamp);
}

export async function areAllApplied(shards: Shards, seqs: readonly number[]): Promise<boolean> {
  return (await ofAll(shards, ({ pool }) => areApplied(pool, seqs))).every(Boolean);
}

/** Returns how many were there. */
export async function deleteLetters(shards: Shards, seqs: readonly number[]): Promise<number> {
  return sum(await ofAll(shards, ({ pool }) => deleteDeadLetters(pool, seqs)));
}

export async function purgeLetters(shards: Shards, beforeMs: number): Promise<number> {
  return sum(await ofAll(shards, ({ pool }) => purgeDeadLetters(pool, beforeMs)));
}

async function ofAll<T>(shards: Shards, work: (shard: Shard) => Promise<T>): Promise<T[]> {
  await shards.known();
  return shards.each(work);
}
