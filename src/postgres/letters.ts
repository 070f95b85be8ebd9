import type { Stamp } from '../clock.ts';
import { int8Array } from './arrays.ts';
import { type Queryable, readL3 } from './pool.ts';

/** A dead letter as the table has it, without its payload. */
export interface Letter {
  readonly seq: number;
  readonly itemId: string;
  readonly stamp: Stamp;
  readonly chunkId: string;
  readonly sqlState: string | undefined;
  readonly message: string;
  readonly attempts: number;
  /** When it died last, in milliseconds since 1970. */
  readonly diedAtMs: number;
  readonly payloadBytes: number;
}

export interface FullLetter extends Letter {
  /** The operation as queued: JSON text. */
  readonly payload: string;
}

type LetterRow = Omit<Letter, 'sqlState'> & { readonly sqlState: string | null };

const COLUMNS = `seq, item_id AS "itemId", stamp, chunk_id AS "chunkId", sqlstate AS "sqlState", message, attempts,
  (extract(epoch FROM died_at) * 1000)::bigint AS "diedAtMs", octet_length(payload) AS "payloadBytes"`;

function fromRow<T extends LetterRow>(row: T): Omit<T, 'sqlState'> & { sqlState: string | undefined } {
  return { ...row, sqlState: row.sqlState ?? undefined };
}

/** The newest letters, those below `before` if given. @throws TierUnavailableError, SchemaMissingError */
export async function listLetters(
  db: Queryable,
  limit: number,
  before: number = Number.MAX_SAFE_INTEGER,
): Promise<Letter[]> {
  const { rows } = await readL3(() =>
    db.query<LetterRow>(`SELECT ${COLUMNS} FROM dead_letters WHERE seq < $1 ORDER BY seq DESC LIMIT $2`, [
      before,
      limit,
    ]),
  );
  return rows.map(fromRow);
}

/** @throws TierUnavailableError, SchemaMissingError */
export async function findLetter(db: Queryable, seq: number): Promise<FullLetter | undefined> {
  const { rows } = await readL3(() =>
    db.query<LetterRow & { payload: string }>(`SELECT ${COLUMNS}, payload FROM dead_letters WHERE seq = $1`, [
      seq,
    ]),
  );
  return rows.map(fromRow)[0];
}

/** All letters of one chunk, in the order of their stamps. @throws TierUnavailableError, SchemaMissingError */
export async function lettersOfChunk(db: Queryable, chunkId: string): Promise<FullLetter[]> {
  const { rows } = await readL3(() =>
    db.query<LetterRow & { payload: string }>(
      `SELECT ${COLUMNS}, payload FROM dead_letters WHERE chunk_id = $1 ORDER BY stamp`,
      [chunkId],
    ),
  );
  return rows.map(fromRow);
}

/** Returns how many were there. */
export async function deleteLetters(db: Queryable, seqs: readonly number[]): Promise<number> {
  const { rowCount } = await readL3(() =>
    db.query('DELETE FROM dead_letters WHERE seq = ANY($1::bigint[])', [int8Array(seqs)]),
  );
  return rowCount ?? 0;
}

/** Drops the letters that died before `beforeMs`. Returns how many. @throws TierUnavailableError, SchemaMissingError */
export async function purgeLetters(db: Queryable, beforeMs: number): Promise<number> {
  const { rowCount } = await readL3(() =>
    db.query('DELETE FROM dead_letters WHERE died_at < to_timestamp($1::float8)', [beforeMs / 1000]),
  );
  return rowCount ?? 0;
}

/**
 * Whether a range delete that came after `stamp` covered the id, so that an older write of it has lost. A range of a state
 * covers it when `state` (what the write set; null: it set none) or else the row's state is that one.
 * @throws TierUnavailableError, SchemaMissingError
 */
export async function isRangeDeleted(
  db: Queryable,
  id: string,
  stamp: Stamp,
  state: string | null,
): Promise<boolean> {
  const { rows } = await readL3(() =>
    db.query<{ covered: boolean }>(
      `SELECT EXISTS (SELECT FROM range_deletes WHERE stamp > $2 AND CASE kind
         WHEN 'prefix' THEN starts_with($1, value)
         ELSE value = coalesce($3, (SELECT state FROM items WHERE id = $1), 'default') END) AS covered`,
      [id, stamp, state],
    ),
  );
  return rows[0]?.covered === true;
}
