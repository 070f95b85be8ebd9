import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import pg from 'pg';
import { startDrain } from '../../src/drain/start-drain.ts';
import { ConfigError, SchemaMissingError } from '../../src/errors.ts';
import { loadConfig } from '../../src/config.ts';
import { migrate, rollback } from '../../src/postgres/migrator.ts';
import { openReader } from '../../src/read/open-reader.ts';

/** A database without any tables; dropped when the test ends. */
async function emptyDatabase(t: ExecutionContext): Promise<string> {
  const server = loadConfig().databaseUrl;
  const name = `tierline_${randomUUID().replaceAll('-', '').slice(0, 16)}`;
  await query(server, `CREATE DATABASE ${name}`);
  t.teardown(() => query(server, `DROP DATABASE ${name} WITH (FORCE)`));
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}

async function query(connectionString: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

/** Tables, views, indexes and functions of ours, as the catalog names them. */
function schemaOf(url: string): Promise<unknown[]> {
  return query(
    url,
    `SELECT relkind::text AS kind, relname::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'tierline_migrations%'
     UNION ALL SELECT 'function', proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1, 2`,
  );
}

test('up, down and up again end in the same schema; down leaves nothing', async (t) => {
  const url = await emptyDatabase(t);
  const ran = await migrate(url);
  t.true(ran.length >= 3);
  const schema = await schemaOf(url);
  t.true(schema.length > 10);
  t.is((await rollback(url)).length, ran.length);
  t.deepEqual(await schemaOf(url), []);
  t.deepEqual(await migrate(url), ran);
  t.deepEqual(await schemaOf(url), schema);
});

test('running it again does nothing, and keeps the data', async (t) => {
  const url = await emptyDatabase(t);
  await migrate(url);
  await query(
    url,
    `INSERT INTO dead_letters (item_id, stamp, chunk_id, payload, message) VALUES ('a', 1, 'c', '{}', 'm')`,
  );
  t.deepEqual(await migrate(url), []);
  t.is((await query(url, 'SELECT item_id FROM dead_letters')).length, 1);
});

test('processes that migrate at once do not collide: one runs it all, the others find it done', async (t) => {
  const url = await emptyDatabase(t);
  const ran = await Promise.all(Array.from({ length: 4 }, () => migrate(url)));
  t.is(ran.filter((names) => names.length > 0).length, 1);
});

test('I8: a database without the schema is refused by name', async (t) => {
  const databaseUrl = await emptyDatabase(t);
  const options = { databaseUrl, namespace: randomUUID(), logLevel: 'silent' } as const;
  await t.throwsAsync(openReader(options), { instanceOf: SchemaMissingError, message: /tierline migrate/ });
  await t.throwsAsync(startDrain(options), { instanceOf: SchemaMissingError });
});

test('a database with the tables of another build is refused by name and keeps them', async (t) => {
  const databaseUrl = await emptyDatabase(t);
  await query(
    databaseUrl,
    `CREATE TABLE items (id text, kh int);
     CREATE TABLE tierline_migrations (id serial, name text, batch int, migration_time timestamptz);
     INSERT INTO tierline_migrations (name, batch) VALUES ('0001_items', 1)`,
  );
  await t.throwsAsync(migrate(databaseUrl), {
    instanceOf: ConfigError,
    message: /0001_items.*empty database/,
  });
  t.deepEqual(await query(databaseUrl, 'SELECT kh FROM items'), []);
  await t.throwsAsync(openReader({ databaseUrl, namespace: randomUUID(), logLevel: 'silent' }), {
    instanceOf: SchemaMissingError,
  });
});
