import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import knex, { type Knex } from 'knex';
import pg from 'pg';
import { MIGRATION_TABLE, migrationNames, MIGRATIONS } from './migrations.ts';

/** Any fixed number: the advisory lock that lets one process migrate at a time. */
const MIGRATION_LOCK = 7_409_134_021;

/** Names carry no extension: knex stores them, and `.ts` today and `.js` tomorrow would read as corrupt. */
class MigrationFolder implements Knex.MigrationSource<string> {
  getMigrations(): Promise<string[]> {
    return migrationNames();
  }

  getMigrationName(name: string): string {
    return name;
  }

  async getMigration(name: string): Promise<Knex.Migration> {
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    return (await import(pathToFileURL(join(MIGRATIONS, `${name}.${extension}`)).href)) as Knex.Migration;
  }
}

export function knexConfig(databaseUrl: string): Knex.Config {
  return {
    client: 'pg',
    connection: databaseUrl,
    pool: { min: 0, max: 2 },
    migrations: { migrationSource: new MigrationFolder(), tableName: MIGRATION_TABLE },
  };
}

/** Brings the schema up to date. Running it twice, or in two processes at once, is harmless. Returns what it ran. */
export function migrate(databaseUrl: string): Promise<string[]> {
  return underLock(databaseUrl, async (db) => {
    const [, names] = (await db.migrate.latest()) as [number, string[]];
    return names;
  });
}

/** Takes every migration back, and with them all data. */
export function rollback(databaseUrl: string): Promise<string[]> {
  return underLock(databaseUrl, async (db) => {
    const [, names] = (await db.migrate.rollback(undefined, true)) as [number, string[]];
    return names;
  });
}

/** knex's own lock makes a second process fail; this one makes it wait, and ends with its connection. */
async function underLock<T>(databaseUrl: string, work: (db: Knex) => Promise<T>): Promise<T> {
  const holder = new pg.Client({ connectionString: databaseUrl });
  await holder.connect();
  try {
    await holder.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    const db = knex(knexConfig(databaseUrl));
    try {
      return await work(db);
    } finally {
      await db.destroy();
    }
  } finally {
    await holder.end();
  }
}
