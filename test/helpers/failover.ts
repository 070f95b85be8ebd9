import type { Pool } from '../../src/postgres/pool.ts';

const TABLES = ['items', 'merkle_leaf', 'merkle_path', 'merkle_delta', 'range_deletes', 'dead_letters'];

/**
 * A Postgres that fails over to a replica which lags: what was committed after `snapshot` is gone after `failOver`, from the
 * rows and from the Merkle tables alike.
 */
export async function laggingReplica(pool: Pool): Promise<{ failOver(): Promise<void> }> {
  for (const table of TABLES) await pool.query(`CREATE TABLE replica_${table} AS TABLE ${table}`);
  return {
    async failOver() {
      for (const table of TABLES) {
        await pool.query(`TRUNCATE ${table}`);
        const { rows } = await pool.query<{ names: string }>(
          `SELECT string_agg(quote_ident(column_name), ', ') AS names FROM information_schema.columns
           WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'`,
          [table],
        );
        const names = rows[0]?.names ?? '';
        await pool.query(
          `INSERT INTO ${table} (${names}) OVERRIDING SYSTEM VALUE SELECT ${names} FROM replica_${table}`,
        );
      }
    },
  };
}
