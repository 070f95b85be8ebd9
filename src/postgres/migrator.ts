import type { Knex } from 'knex';
import { migrations } from '../../migrations/index.ts';
import { ConfigError, PartitionsError, ShardsError } from '../errors.ts';
import type { Queryable } from './pool.ts';

const MIGRATION_TABLE = 'tierline_migrations';
/** Any fixed number: the advisory lock that lets one process migrate at a time. */
const MIGRATION_LOCK = 7_409_134_021;

/** The migrations that the database has not run. Empty: the schema is up to date. */
export async function pendingMigrations(db: Queryable): Promise<string[]> {
  const ran = new Set(await ranMigrations((text) => db.query(text)));
  return Object.keys(migrations).filter((name) => !ran.has(name));
}

async function ranMigrations(
  ask: (text: string) => PromiseLike<{ readonly rows: readonly Record<string, unknown>[] }>,
): Promise<string[]> {
  const { rows: tables } = await ask(`SELECT to_regclass('${MIGRATION_TABLE}')::text AS table`);
  if (tables[0]?.['table'] == null) return [];
  const { rows } = await ask(`SELECT name FROM ${MIGRATION_TABLE}`);
  return rows.map(({ name }) => String(name));
}

const migrationSource: Knex.MigrationSource<string> = {
  getMigrations: () => Promise.resolve(Object.keys(migrations)),
  getMigrationName: (name) => name,
  getMigration: (name) => Promise.resolve(migrations[name] as Knex.Migration),
};

export function knexConfig(databaseUrl: string): Knex.Config {
  return {
    client: 'pg',
    connection: databaseUrl,
    pool: { min: 0, max: 2 },
    migrations: { migrationSource, tableName: MIGRATION_TABLE },
    // What it warns of is thrown, too, and standard output belongs to the commands.
    log: { warn: () => undefined },
  };
}

/**
 * Brings the schema up to date and sets the number of partitions where nothing is stored yet. Running it twice, or in two
 * processes at once, is harmless. Returns the names that it ran.
 * @param partitions left out: as they are, 1 for a new database
 * @throws ConfigError when the database has the tables of another build; it is left as it is. PartitionsError when it has data
 *   of another number of partitions
 */
export function migrate(databaseUrl: string, partitions?: number): Promise<string[]> {
  return underLock(databaseUrl, async (db) => {
    const [, names] = (await db.migrate.latest()) as [number, string[]];
    if (partitions !== undefined) await choosePartitions(db, partitions);
    return names;
  });
}

async function choosePartitions(db: Knex, partitions: number): Promise<void> {
  const { rows } = await db.raw<{ rows: { stored: number; shard: string | null; hasData: boolean }[] }>(
    `SELECT partitions AS stored, shard_name AS shard, ${HAS_DATA} AS "hasData" FROM deployment`,
  );
  const { stored = 1, shard = null, hasData = false } = rows[0] ?? {};
  if (stored === partitions) return;
  if (hasData) throw otherPartitions(stored, partitions);
  if (shard !== null) {
    throw new ShardsError(
      `The database is shard ${shard} of a deployment. Run \`tierline migrate\` with its TIERLINE_SHARDS.`,
    );
  }
  await db.raw('UPDATE deployment SET partitions = ?', [partitions]);
}

/** Whether a database holds anything of a deployment. */
export const HAS_DATA =
  'EXISTS (SELECT FROM items) OR EXISTS (SELECT FROM dead_letters) OR EXISTS (SELECT FROM range_deletes)';

export function otherPartitions(stored: number, wanted: number): PartitionsError {
  return new PartitionsError(
    `The database has data of ${stored} partitions. Run \`tierline partitions raise ${wanted}\` while no other process of the deployment runs.`,
  );
}

/** Drops all tables of Tierline, with their data. */
export function rollback(databaseUrl: string): Promise<string[]> {
  return underLock(databaseUrl, async (db) => {
    const [, names] = (await db.migrate.rollback(undefined, true)) as [number, string[]];
    return names;
  });
}

/**
 * knex's own lock makes a second process fail. This one makes it wait. Lock and migrations share one transaction: behind a pooler
 * a lock of the session would stay with a server process that serves others.
 */
export async function underLock<T>(databaseUrl: string, work: (db: Knex) => Promise<T>): Promise<T> {
  // Loading knex takes a quarter of a second, and a process that only asks what is pending does not need it.
  const { default: knex } = await import('knex');
  const db = knex(knexConfig(databaseUrl));
  try {
    return await db.transaction(async (transaction) => {
      await transaction.raw('SELECT pg_advisory_xact_lock(?)', [MIGRATION_LOCK]);
      const ran = await ranMigrations((text) => transaction.raw(text));
      const unknown = ran.filter((name) => migrations[name] === undefined);
      if (unknown.length > 0) throw new ConfigError(otherBuild(unknown));
      return work(transaction);
    });
  } finally {
    await db.destroy();
  }
}

function otherBuild(unknown: readonly string[]): string {
  return `DATABASE_URL: the database has the tables of another build of Tierline, which has run ${unknown.join(', ')}. Use that build with it, or give this one an empty database.`;
}
