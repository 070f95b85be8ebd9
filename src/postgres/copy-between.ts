import { pipeline } from 'node:stream/promises';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import type { Pool, Queryable } from './pool.ts';

/**
 * Streams rows from one database into a table of another, in binary form: nothing is parsed here, and a few packets are in
 * memory.
 * @param query a SELECT without parameters
 * @param into the table and its columns
 * @param target inside a transaction
 */
export async function copyBetween(
  source: Pool,
  query: string,
  target: Queryable,
  into: string,
): Promise<void> {
  const connection = await source.connect();
  let broken: Error | undefined;
  const onLost = (error: Error) => {
    broken = error;
  };
  connection.on('error', onLost);
  try {
    await pipeline(
      connection.query(copyTo(`COPY (${query}) TO STDOUT (FORMAT binary)`)),
      target.query(copyFrom(`COPY ${into} FROM STDIN (FORMAT binary)`)),
    );
  } catch (error) {
    // The rest of the rows is on its way and nobody reads it, so the connection cannot be used again.
    broken = error instanceof Error ? error : new Error(String(error));
    throw error;
  } finally {
    connection.off('error', onLost);
    connection.release(broken);
  }
}
