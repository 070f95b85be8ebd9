import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { migrateShards } from '../../src/postgres/migrate-shards.ts';
import { migrate } from '../../src/postgres/migrator.ts';
import { startPgBouncer } from './pgbouncer.ts';

/** A database of a test's own. */
export interface Database {
  readonly url: string;
  drop(): Promise<void>;
}

/** The databases that a deployment needs. */
export interface Layout {
  readonly partitions: number;
  /** One for each shard; none: one database. */
  readonly shards: readonly string[];
  /** URL of the server of each database. */
  readonly servers: readonly string[];
}

/**
 * Fresh databases with the schema. With `TEST_PGBOUNCER=1` each is reached through a PgBouncer of its own.
 * @param asCopies copies databases that were migrated once, which takes half the time. They stay on the servers.
 */
export async function createDatabases(name: string, layout: Layout, asCopies: boolean): Promise<Database[]> {
  const template = asCopies ? await templateOf(layout) : undefined;
  const databases = await Promise.all(
    namesOf(name, layout).map((each, i) =>
      createDatabase(layout.servers[i] as string, each, template && namesOf(template, layout)[i]),
    ),
  );
  const urls = databases.map(({ url }) => url);
  if (template === undefined) await migrateAll(urls, layout);
  else {
    const deployment = randomUUID();
    await Promise.all(urls.map((url) => query(url, `UPDATE deployment SET deployment_id = '${deployment}'`)));
  }
  return databases;
}

function namesOf(name: string, { shards }: Layout): string[] {
  return shards.length === 0 ? [name] : shards.map((shard) => `${name}_${shard}`);
}

async function migrateAll(urls: readonly string[], { shards, partitions }: Layout): Promise<void> {
  if (shards.length === 0) await migrate(urls[0] as string, partitions);
  else
    await migrateShards(
      shards.map((name, i) => ({ name, url: urls[i] as string })),
      partitions,
    );
}

const templates = new Map<string, Promise<string>>();

/** The name of the migrated databases of a layout, which the first test of all that needs them makes. */
function templateOf(layout: Layout): Promise<string> {
  const name = `tierline_template_${[layout.partitions, ...layout.shards].join('_')}`;
  const template = templates.get(name) ?? makeOnce(name, layout).then(() => name);
  templates.set(name, template);
  return template;
}

async function makeOnce(name: string, layout: Layout): Promise<void> {
  const [server] = layout.servers as readonly [string];
  const client = new pg.Client({ connectionString: server });
  await client.connect();
  try {
    await client.query('SELECT pg_advisory_lock(hashtext($1))', [name]);
    const [first] = namesOf(name, layout);
    const { rows } = await client.query('SELECT FROM pg_database WHERE datname = $1', [first]);
    if (rows.length === 0) await make(name, layout);
  } finally {
    await client.end();
  }
}

/** They get their names when they are whole, and the first one last: who finds that takes all of them. */
async function make(name: string, layout: Layout): Promise<void> {
  const whole = namesOf(name, layout);
  const unfinished = namesOf(`${name}_new`, layout);
  for (const [i, server] of layout.servers.entries()) {
    // Of a test file that was ended in the middle of this.
    for (const left of [whole[i], unfinished[i]]) await query(server, `DROP DATABASE IF EXISTS "${left}"`);
    await query(server, `CREATE DATABASE "${unfinished[i]}"`);
  }
  await migrateAll(
    unfinished.map((each, i) => urlOf(layout.servers[i] as string, each)),
    layout,
  );
  for (const [i, server] of [...layout.servers.entries()].toReversed()) {
    await query(server, `ALTER DATABASE "${unfinished[i]}" RENAME TO "${whole[i]}"`);
  }
}

async function createDatabase(server: string, name: string, template: string | undefined): Promise<Database> {
  await query(server, `CREATE DATABASE "${name}"${template === undefined ? '' : ` TEMPLATE "${template}"`}`);
  const pooler = process.env['TEST_PGBOUNCER'] === '1' ? await startPgBouncer(server) : undefined;
  const url = urlOf(server, name);
  return {
    url: pooler === undefined ? url : pooler.urlOf(url),
    async drop() {
      await pooler?.close();
      await query(server, `DROP DATABASE "${name}" WITH (FORCE)`);
    },
  };
}

function urlOf(server: string, database: string): string {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
}

async function query(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
