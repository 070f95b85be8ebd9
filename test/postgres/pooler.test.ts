import test, { type ExecutionContext } from 'ava';
import { loadConfig } from '../../src/config.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { TierUnavailableError } from '../../src/errors.ts';
import { createLogger } from '../../src/log.ts';
import { migrate, rollback } from '../../src/postgres/migrator.ts';
import { createPool, isThroughPooler, type Pool } from '../../src/postgres/pool.ts';
import { runCommand } from '../helpers/command-line.ts';
import { ONE_LANE } from '../helpers/deployment.ts';
import { startPgBouncer } from '../helpers/pgbouncer.ts';
import { createSetting } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext, settings: Readonly<Record<string, string | number>> = {}) {
  const { deployment, use } = await createSetting(t, ONE_LANE);
  const bouncer = use(await startPgBouncer(deployment.options.databaseUrl, settings));
  const databaseUrl = bouncer.urlOf(deployment.options.databaseUrl);
  return { deployment, databaseUrl, options: { ...deployment.options, databaseUrl } };
}

function poolOf(t: ExecutionContext, databaseUrl: string, size: number): Pool {
  const pool = createPool(databaseUrl, size, createLogger('test', 'silent'));
  t.teardown(() => pool.end());
  return pool;
}

/** Runs as many named statements at once as there are connections. */
function askNamed(pool: Pool, count: number): Promise<unknown> {
  const ask = () => pool.query({ name: 'asked', text: 'SELECT pg_sleep(0.01), $1::int AS n', values: [1] });
  return Promise.all(Array.from({ length: count }, ask));
}

const PREPARED = `SELECT name FROM pg_prepared_statements WHERE name = 'asked'`;

test('named statements stay named on a direct connection', async (t) => {
  const pool = poolOf(t, loadConfig().databaseUrl, 1);
  await askNamed(pool, 3);
  t.is((await pool.query(PREPARED)).rows.length, 1);
  t.false(await isThroughPooler(pool));
});

test('statements are not compiled on a direct connection, and a pooler keeps the setting of its Postgres', async (t) => {
  const { databaseUrl, deployment } = await setUp(t);
  const ownSetting = `ALTER DATABASE ${new URL(databaseUrl).pathname.slice(1)} SET jit = on`;
  await deployment.pool.query(ownSetting);
  const jitOf = async (url: string) => (await poolOf(t, url, 1).query('SHOW jit')).rows[0]?.jit;
  t.is(await jitOf(deployment.options.databaseUrl), 'off');
  t.is(await jitOf(databaseUrl), 'on');
});

test('behind PgBouncer in transaction mode the same statements work, and leave nothing on its connections', async (t) => {
  const { databaseUrl } = await setUp(t);
  const pool = poolOf(t, databaseUrl, 6);
  for (let round = 0; round < 20; round++) await askNamed(pool, 6);
  t.deepEqual((await pool.query(PREPARED)).rows, []);
  t.true(await isThroughPooler(pool));
});

test('processes that migrate at once through one server connection take turns, and leave no lock on it', async (t) => {
  const { databaseUrl, deployment } = await setUp(t, { default_pool_size: 1 });
  await rollback(databaseUrl);
  const ran = await Promise.all(Array.from({ length: 4 }, () => migrate(databaseUrl)));
  t.is(ran.filter((names) => names.length > 0).length, 1);
  const { rows } = await deployment.pool.query(
    `SELECT objid FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory' AND datname = current_database()`,
  );
  t.deepEqual(rows, []);
});

test('I8: PgBouncer in statement mode is refused at the start, with the fix', async (t) => {
  const { options, deployment } = await setUp(t, { pool_mode: 'statement' });
  const message = /pool_mode = transaction/;
  await t.throwsAsync(startDrain(options), { instanceOf: TierUnavailableError, message });
  const env = { ...deployment.env, DATABASE_URL: options.databaseUrl };
  const { code, stdout } = await runCommand(env, ['doctor']);
  t.is(code, 1);
  t.regex(stdout, message);
});

test('I8: a parameter of DATABASE_URL that PgBouncer does not know is refused at the start, with the fix', async (t) => {
  const { options } = await setUp(t);
  const databaseUrl = `${options.databaseUrl}?statement_timeout=1000`;
  await t.throwsAsync(startDrain({ ...options, databaseUrl }), {
    instanceOf: TierUnavailableError,
    message: /ignore_startup_parameters/,
  });
});

test('the doctor says whether a pooler is between', async (t) => {
  const { deployment, options } = await setUp(t);
  const env = { ...deployment.env, DATABASE_URL: options.databaseUrl };
  const { code, stdout } = await runCommand(env, ['doctor']);
  t.is(code, 0);
  t.regex(stdout, /ok +postgres: connection +through a pooler/);
});
