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

/**
 * Whether the rows of these letters carry the letters' stamps or newer ones; of letters for L2 alone nothing can be told.
 * @throws TierUnavailableError, SchemaMissingError
 */
export async function areApplied(db: Queryable, seqs: readonly number[]): Promise<boolean> {
  const { rows } = await readL3(() =>
    db.query<{ missing: boolean }>(
      `SELECT EXISTS (SELECT FROM dead_letters d LEFT JOIN items i ON i.id = d.item_id
         WHERE d.seq = ANY($1::bigint[]) AND d.payload::json ->> 'tiers' <> 'cache'
           AND (i.id IS NULL OR greatest(i.content_version, i.state_version) < d.stamp)) AS missing`,
      [int8Array(seqs)],
    ),
  );
  return rows[0]?.missing !== true;
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
