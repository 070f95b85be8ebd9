import test from 'ava';
import { loadConfig } from '../../src/config.ts';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import { backlogFindings, totalsFindings } from '../../src/cli/doctor/work-findings.ts';
import { latency, skew } from '../../src/cli/doctor/redis-findings.ts';
import { roundTrips } from '../../src/cli/doctor/round-trips.ts';
import { runCommand } from '../helpers/command-line.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';

let deployment: Deployment;
test.before(async () => {
  deployment = await createDeployment();
});
test.after.always(() => deployment.close());

const findingsOf = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Finding);

test.serial('on healthy servers nothing fails, and every finding that is not ok has a fix', async (t) => {
  const { code, stdout } = await runCommand(deployment.env, ['doctor', '--json']);
  t.is(code, 0);
  const findings = findingsOf(stdout);
  for (const finding of findings) t.is(finding.fix === undefined, finding.level === 'ok', finding.about);
  const about = findings.map(({ area, about }) => `${area} ${about}`);
  for (const expected of [
    'node version', 'redis version', 'redis eviction', 'redis persistence', 'redis latency', 'redis clock',
    'postgres version', 'postgres schema', 'postgres durability', 'postgres latency', 'postgres clock',
    'queue pressure', 'queue lag', 'queue dead letters', 'maintenance Merkle fold',
  ]) {
    t.true(about.includes(expected), expected);
  }
});

test.serial('a Redis that may evict, a write that waits, a dead letter and a missing migration are found', async (t) => {
  const { redis, keys, pool } = deployment;
  await redis.zadd(keys.inflight, (Date.now() - 600_000) * 1000, 'nobody');
  await pool.query(
    `INSERT INTO dead_letters (item_id, stamp, payload, message, chunk_id) VALUES ('x', 1, '{}', 'test', 'c')`,
  );
  await pool.query(`DELETE FROM tierline_migrations WHERE name = '0003_dead_letters'`);
  await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
  try {
    const { code, stdout } = await runCommand(deployment.env, ['doctor']);
    t.is(code, 1);
    t.regex(stdout, /FAIL {2}redis: eviction .*\n +fix: CONFIG SET maxmemory-policy noeviction/);
    t.regex(stdout, /FAIL {2}queue: lag .*10 min old.*\n +fix: start drain workers/);
    t.regex(stdout, /WARN {2}queue: dead letters +1\n +fix: tierline dead-letters list/);
    t.regex(stdout, /FAIL {2}postgres: schema .*0003_dead_letters\n +fix: run tierline migrate/);
  } finally {
    await redis.config('SET', 'maxmemory-policy', 'noeviction');
  }
});

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
    pendingItems: 0, chunksInFlight: 0, chunksWaiting: 0, chunksActive: 0, oldestMs: 0, feedEntries: 0, feedLength: 0, nowMs: 0,
  };
  const levels = (change: object) => backlogFindings({ ...backlog, ...change }, config).map(({ level }) => level);
  t.deepEqual(levels({}), ['ok', 'ok']);
  t.deepEqual(levels({ pendingItems: 70, oldestMs: 999 }), ['warn', 'ok']);
  t.deepEqual(levels({ pendingItems: 100, oldestMs: 1000 }), ['fail', 'fail']);
  const left = { items: 1, merklePending: 0, deadLetters: 0 };
  t.deepEqual(totalsFindings(left).map(({ level }) => level), ['ok', 'ok']);
  t.deepEqual(totalsFindings({ ...left, merklePending: 5000, deadLetters: 1 }).map(({ level }) => level), ['warn', 'warn']);
});
