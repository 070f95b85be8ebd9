import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Queryable } from './pool.ts';

/** Apart from the migrator: who only asks what is missing need not load knex, a quarter of a second of work. */
export const MIGRATIONS = fileURLToPath(new URL('../../migrations/', import.meta.url));
export const MIGRATION_TABLE = 'tierline_migrations';

/** The migrations of this version, in their order, without extensions. */
export async function migrationNames(): Promise<string[]> {
  const files = await readdir(MIGRATIONS);
  return files
    .filter((file) => /^\d+_\w+\.(js|ts)$/.test(file))
    .map((file) => file.replace(/\.(js|ts)$/, ''))
    .sort();
}

/** Those that the database has not run. Empty: the schema is up to date. */
export async function pendingMigrations(db: Queryable): Promise<string[]> {
  const known = await migrationNames();
  const { rows: tables } = await db.query<{ table: string | null }>('SELECT to_regclass($1)::text AS table', [
    MIGRATION_TABLE,
  ]);
  if (tables[0]?.table == null) return known;
  const { rows } = await db.query<{ name: string }>(`SELECT name FROM ${MIGRATION_TABLE}`);
  const ran = new Set(rows.map(({ name }) => name));
  return known.filter((name) => !ran.has(name));
}
