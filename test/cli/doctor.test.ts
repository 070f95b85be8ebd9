import test from 'ava';
import { loadConfig } from '../../src/config.ts';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import { backlogFindings, totalsFindings } from '../../src/cli/commands/doctor.ts';
import { latency, roundTrips, settingsFindings, skew } from '../../src/cli/doctor/redis-findings.ts';
import { redisFix } from '../../src/redis/connect.ts';
import { ServerInfo } from '../../src/redis/server-info.ts';
import { jsonOf, runCommand } from '../helpers/command-line.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { serversOf } from '../helpers/redis-keys.ts';

const deployment = await createDeployment(ONE_LANE);
test.after.always(() => deployment.close());

test.serial('on healthy servers nothing fails, and every finding that is not ok has a fix', async (t) => {
  const { code, stdout } = await runCommand(deployment.env, ['doctor', '--json']);
  t.is(code, 0);
  const findings = jsonOf<Finding>(stdout);
  for (const finding of findings) t.is(finding.fix === undefined, finding.level === 'ok', finding.about);
  const about = findings.map(({ area, about }) => `${area} ${about}`);
  for (const expected of [
    'node version',
    'redis version',
    'redis eviction',
    'redis persistence',
    'redis latency',
    'redis clock',
    'postgres version',
    'postgres schema',
    'postgres durability',
    'postgres latency',
    'postgres clock',
    'queue pressure',
    'queue lag',
    'queue dead letters',
    'postgres lost writes',
    'maintenance Merkle fold',
  ]) {
    t.true(about.includes(expected), expected);
  }
});

test.serial('a write that waits, a dead letter and a missing migration are found', async (t) => {
  const { redis, keys, pool } = deployment;
  await redis.zadd(keys.inflight, (Date.now() - 600_000) * 1000, 'nobody');
  await pool.query(
    `INSERT INTO dead_letters (item_id, stamp, payload, message, chunk_id) VALUES ('x', 1, '{}', 'test', 'c')`,
  );
  await pool.query(`DELETE FROM tierline_migrations WHERE name = '03_dead_letters'`);
  const { code, stdout } = await runCommand(deployment.env, ['doctor']);
  t.is(code, 1);
  t.regex(stdout, /FAIL {2}queue: lag .*10 min old.*\n +fix: start drain workers/);
  t.regex(stdout, /WARN {2}queue: dead letters +1\n +fix: tierline dead-letters list/);
  t.regex(stdout, /FAIL {2}postgres: schema .*03_dead_letters\n +fix: run tierline migrate/);
});

const REFUSED: readonly (readonly [
  name: string,
  change: (d: Deployment) => NodeJS.ProcessEnv,
  fix: RegExp,
])[] = [
  [
    'a wrong Redis password',
    (d) => ({ REDIS_URL: withUser(d.options.redisUrl, 'nobody', 'wrong') }),
    /correct user and password in REDIS_URL/,
  ],
  [
    'a Redis user without rights',
    (d) => ({ REDIS_URL: withUser(d.options.redisUrl, 'weak', 'secret') }),
    /give the user of REDIS_URL the rights/,
  ],
  [
    'a wrong database',
    (d) => ({ DATABASE_URL: d.options.databaseUrl.replace(/tierline_/, 'no_') }),
    /create the database/,
  ],
  [
    'a Postgres role without rights',
    (d) => ({ DATABASE_URL: withUser(d.options.databaseUrl, `weak_${d.options.namespace}`, 'secret') }),
    /as the owner of the tables: GRANT/,
  ],
];
test.serial('what refuses a user is not told to be started', async (t) => {
  const role = `weak_${deployment.options.namespace}`;
  await deployment.pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`);
  const servers = serversOf(deployment.redis);
  for (const server of servers) await server.acl('SETUSER', 'weak', 'on', '>secret', '+ping', '~*');
  t.teardown(async () => {
    for (const server of servers) await server.acl('DELUSER', 'weak');
    await deployment.pool.query(`DROP ROLE ${role}`);
  });
  for (const [name, change, fix] of REFUSED) {
    const { code, stdout } = await runCommand({ ...deployment.env, ...change(deployment) }, ['doctor']);
    t.is(code, 1, name);
    t.regex(stdout, fix, name);
    t.notRegex(stdout, /start the server/, name);
  }
});
for (const [reply, fix] of [
  ['NOAUTH Authentication required.', /give the password of the server in REDIS_URL/],
  ['WRONGPASS invalid username-password pair or user is disabled.', /correct user and password in REDIS_URL/],
  ["NOPERM this user has no permissions to run the 'info' command", /rights/],
  ['connect ECONNREFUSED 127.0.0.1:1', /start the server/],
] as const) {
  test(`what to do about a Redis that says ${reply}`, (t) => {
    t.regex(redisFix(new Error(reply), 'REDIS_URL'), fix);
  });
}

function withUser(url: string, user: string, password: string): string {
  return url.replace(/:\/\/(?:[^@/]*@)?/, `://${user}:${password}@`);
}

const INFO =
  'redis_version:7.2.4\r\nmaxmemory_policy:noeviction\r\nmaxmemory:1000\r\nused_memory:10\r\naof_enabled:1\r\n';
const SERVERS: readonly (readonly [
  name: string,
  change: readonly [string, string],
  role: 'redis' | 'cache',
  expected: Record<string, string>,
])[] = [
  ['a safe server', ['', ''], 'redis', { version: 'ok', eviction: 'ok', persistence: 'ok', memory: 'ok' }],
  ['eviction in the queue', ['noeviction', 'allkeys-lru'], 'redis', { eviction: 'fail' }],
  ['no append-only file', ['aof_enabled:1', 'aof_enabled:0'], 'redis', { persistence: 'warn' }],
  [
    'a full disk',
    ['aof_enabled:1', 'aof_enabled:1\r\naof_last_write_status:err'],
    'redis',
    { persistence: 'fail' },
  ],
  ['an old Redis', ['7.2.4', '6.0.9'], 'redis', { version: 'fail' }],
  ['Redis 6.2', ['7.2.4', '6.2.0'], 'redis', { version: 'ok' }],
  [
    'Valkey',
    ['redis_version:7.2.4', 'redis_version:6.0.0\r\nvalkey_version:8.0.1'],
    'redis',
    { version: 'ok' },
  ],
  ['hardly any memory left', ['used_memory:10', 'used_memory:900'], 'redis', { memory: 'warn' }],
  ['a full cache', ['used_memory:10', 'used_memory:900'], 'cache', { memory: 'ok' }],
  ['a cache that cannot evict', ['', ''], 'cache', { eviction: 'warn' }],
  ['a cache that evicts', ['noeviction', 'allkeys-lfu'], 'cache', { eviction: 'ok' }],
];
for (const [name, [from, to], role, expected] of SERVERS) {
  test(`settings: ${name} as ${role}`, (t) => {
    const found = settingsFindings(role, new ServerInfo(INFO.replace(from, to)));
    t.like(Object.fromEntries(found.map(({ about, level }) => [about, level])), expected);
    for (const finding of found) t.is(finding.fix === undefined, finding.level === 'ok', finding.about);
  });
}

test('skew and latency are told with their fix', async (t) => {
  const behind = await roundTrips(() => Promise.resolve(Date.now() + 5000));
  t.is(skew('redis', behind).level, 'warn');
  t.regex(skew('redis', behind).found, /5\.0 s behind/);
  t.regex(skew('redis', { medianMs: 1, skewMs: 7000 }).found, /7\.0 s ahead of/);
  t.is(skew('redis', { medianMs: 1, skewMs: -20 }).level, 'ok');
  t.is(latency('redis', { medianMs: 5.1, skewMs: 0 }, 5).level, 'warn');
  t.is(latency('redis', { medianMs: 4.9, skewMs: 0 }, 5).level, 'ok');
});

test('backlog and leftovers: the level follows the limits', (t) => {
  const config = loadConfig({ maxWaitingItems: 100, readyLagMs: 1000 });
  const backlog = {
    pendingItems: 0,
    waitingBytes: 0,
    memoryShare: 0,
    chunksInFlight: 0,
    chunksWaiting: 0,
    chunksActive: 0,
    oldestMs: 0,
    feedEntries: 0,
    feedLength: 0,
    nowMs: 0,
  };
  const levels = (change: object) =>
    backlogFindings({ ...backlog, ...change }, config).map(({ level }) => level);
  t.deepEqual(levels({}), ['ok', 'ok']);
  t.deepEqual(levels({ pendingItems: 70, oldestMs: 999 }), ['warn', 'ok']);
  t.deepEqual(levels({ pendingItems: 100, oldestMs: 1000 }), ['fail', 'fail']);
  const left = { items: 1, merklePending: 0, deadLetters: 0 };
  t.deepEqual(
    totalsFindings(left).map(({ level }) => level),
    ['ok', 'ok'],
  );
  t.deepEqual(
    totalsFindings({ ...left, merklePending: 5000, deadLetters: 1 }).map(({ level }) => level),
    ['warn', 'warn'],
  );
});
