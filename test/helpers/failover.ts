import { inTransaction, type Pool, sqlState } from '../../src/postgres/pool.ts';
import type { Deployment } from './deployment.ts';

const TABLES = ['items', 'merkle_leaf', 'merkle_path', 'merkle_delta', 'range_deletes', 'dead_letters'];
const DEADLOCK = '40P01';

/**
 * A Postgres that fails over to a replica which lags: what was committed after `snapshot` is gone after `failOver`, from the
 * rows and from the Merkle tables alike. Each is one transaction, because a fold between two tables would part tree and rows.
 * With several shards all fail over.
 */
export async function laggingReplica({ shards }: Deployment): Promise<{ failOver(): Promise<void> }> {
  const replicas = await shards.each(({ pool }) => replicaOf(pool));
  return { failOver: async () => void (await Promise.all(replicas.map(({ failOver }) => failOver()))) };
}

async function replicaOf(pool: Pool): Promise<{ failOver(): Promise<void> }> {
  await inTransaction(pool, async (connection) => {
    await connection.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
    for (const table of TABLES) await connection.query(`CREATE TABLE replica_${table} AS TABLE ${table}`);
  });
  const restore = () =>
    inTransaction(pool, async (connection) => {
      await connection.query(`TRUNCATE ${TABLES.join(', ')}`);
      // One of several shards refuses writes of those who do not know of the others.
      await connection.query(`SET LOCAL tierline.in_turn = '1'`);
      for (const table of TABLES) {
        const { rows } = await connection.query<{ names: string }>(
          `SELECT string_agg(quote_ident(column_name), ', ') AS names FROM information_schema.columns
           WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'`,
          [table],
        );
        const names = rows[0]?.names ?? '';
        await connection.query(
          `INSERT INTO ${table} (${names}) OVERRIDING SYSTEM VALUE SELECT ${names} FROM replica_${table}`,
        );
      }
    });
  return {
    async failOver() {
      // A fold takes the same tables in another order.
      for (let tries = 1; ; tries++) {
        try {
          return await restore();
        } catch (error) {
          if (sqlState(error) !== DEADLOCK || tries === 5) throw error;
        }
      }
    },
  };
}
