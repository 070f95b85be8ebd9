import { readdir } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { join } from 'node:path';
import knex, { type Knex } from 'knex';
import pg from 'pg';
import type { Queryable } from './pool.ts';

const MIGRATIONS = fileURLToPath(new URL('../../migrations/', import.meta.url));
const MIGRATION_TABLE = 'tierline_migrations';
/** Any fixed number: the advisory lock that lets one process migrate at a time. */
const MIGRATION_LOCK = 7_409_134_021;

/** Names carry no extension: knex stores them, and `.ts` today and `.js` tomorrow would read as corrupt. */
class MigrationFolder implements Knex.MigrationSource<string> {
  async getMigrations(): Promise<string[]> {
    const files = await readdir(MIGRATIONS);
    return files
      .filter((file) => /^\d+_\w+\.(js|ts)$/.test(file))
      .map((file) => file.replace(/\.(js|ts)$/, ''))
      .sort();
  }

  getMigrationName(name: string): string {
    return name;
  }

  async getMigration(name: string): Promise<Knex.Migration> {
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    return (await import(pathToFileURL(join(MIGRATIONS, `${name}.${extension}`)).href)) as Knex.Migration;
  }
}

/** Migrations of this version that the database has not run. Empty: the schema is up to date. */
export async function pendingMigrations(db: Queryable): Promise<string[]> {
  const known = await new MigrationFolder().getMigrations();
  const { rows: tables } = await db.query<{ table: string | null }>('SELECT to_regclass($1)::text AS table', [
    MIGRATION_TABLE,
  ]);
  if (tables[0]?.table == null) return known;
  const { rows } = await db.query<{ name: string }>(`SELECT name FROM ${MIGRATION_TABLE}`);
  const ran = new Set(rows.map(({ name }) => name));
  return known.filter((name) => !ran.has(name));
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
