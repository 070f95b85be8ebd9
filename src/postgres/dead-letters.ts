import type { Stamp } from '../clock.ts';
import { int8Array, textArray } from './arrays.ts';
import type { Queryable } from './pool.ts';

export interface DeadLetter {
  readonly itemId: string;
  readonly stamp: Stamp;
  readonly chunkId: string;
  /** The operation as queued: JSON text. */
  readonly payload: string;
  readonly sqlState: string | undefined;
  readonly message: string;
}

/**
 * Keeps what could not be stored. The same operation dying again counts an attempt; twice in one batch, as when it was
 * replayed twice, it is one letter, for one statement cannot write a row two times.
 */
export async function insertDeadLetters(db: Queryable, given: readonly DeadLetter[]): Promise<void> {
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
