import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import * as fc from 'fast-check';
import { createLogger } from '../../src/log.ts';
import { entryOf, type L1Entry, NEVER } from '../../src/read/l1-entry.ts';
import { Floors, RecentAnswers } from '../../src/read/floors.ts';
import { settledQuestion } from '../../src/read/lane-settled.ts';
import { settledCheck } from '../../src/redis/in-flight.ts';
import { MemoryTier } from '../../src/tiers/memory.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { keysOf } from '../../src/keys.ts';
import { closeRedis, whenReady } from '../../src/redis/connect.ts';
import { createRedis } from '../../src/redis/driver.ts';
import { eventually } from '../helpers/eventually.ts';

const stamps = (version: number) => ({ contentVersion: version, stateVersion: 0 });

const seen = (id: string, contentVersion: number, stateVersion = 0) => ({
  id,
  contentVersion,
  stateVersion,
});

/** Floors beside an L1 of `l1MaxBytes`, whose question Redis answers with what `redis` holds at that time. */
function floorsOf(
  redis: { horizon: number; settled: ReadonlySet<string>; away?: boolean },
  { l1MaxBytes = 0, ttlMs = 60_000 } = {},
) {
  const l1 = new MemoryTier<L1Entry>({ maxBytes: l1MaxBytes, ttlMs });
  /** The ids that each question was about. */
  const questions: string[][] = [];
  const ask = (seen: readonly { id: string }[]) => {
    questions.push(seen.map(({ id }) => id));
    if (redis.away === true) return Promise.reject(new Error('away'));
    return Promise.resolve({
      horizonOf: () => redis.horizon,
      settled: seen.map(({ id }) => redis.settled.has(id)),
    });
  };
  const floors = new Floors(l1, ask, createLogger('test', 'silent'));
  return { l1, floors, questions, asked: () => questions.length };
}

test('I6: a version that has not settled outlives its entry in L1, until the feed announces it or a newer one', (t) => {
  const { l1, floors } = floorsOf({ horizon: 0, settled: new Set() });
  l1.set('a', { ...entryOf(undefined, NEVER), contentVersion: 20, stateVersion: 5 }, 0);
  t.is(l1.size, 0);
  t.deepEqual(floors.of('a'), { contentVersion: 20, stateVersion: 5 });
  floors.given('a', stamps(10));
  floors.announced('a', { contentVersion: 10, stateVersion: 5 });
  floors.announced('a', { contentVersion: 30, stateVersion: 4 });
  t.deepEqual(floors.of('a'), { contentVersion: 20, stateVersion: 5 }, 'older in one register');
  floors.announced('a', { contentVersion: 30, stateVersion: 5 });
  t.is(floors.of('a'), undefined);
  t.is(floors.size, 0);
});

test('I6: the floor of an entry that expires is kept too', async (t) => {
  const { l1, floors } = floorsOf({ horizon: 0, settled: new Set() }, { l1MaxBytes: 10_000, ttlMs: 1 });
  l1.set('a', { ...entryOf(undefined, NEVER), contentVersion: 20 }, 0);
  await eventually(() => l1.peek('a') === undefined, 'expired');
  t.is(floors.of('a')?.contentVersion, 20, 'still in L1, though not given out');
  l1.get('a');
  t.is(l1.size, 0);
  t.is(floors.of('a')?.contentVersion, 20);
});

test('I10: rows that settled before they were read are not kept', async (t) => {
  const { floors, asked } = floorsOf({ horizon: 1000, settled: new Set() });
  await eventually(() => asked() === 1, 'the horizon is asked for at the start');
  for (let i = 0; i < 10_000; i++) floors.given(`id.${i}`, stamps(i % 1000));
  t.is(floors.size, 0);
  floors.given('in flight', stamps(1000));
  floors.given('its state in flight', { contentVersion: 5, stateVersion: 1000 });
  t.is(floors.size, 2);
});

test('what nobody has written is not kept, and a state alone is', (t) => {
  const { floors } = floorsOf({ horizon: 0, settled: new Set() });
  floors.given('absent', stamps(0));
  floors.given('state alone', { contentVersion: 0, stateVersion: 5 });
  t.is(floors.of('absent'), undefined);
  t.deepEqual(floors.of('state alone'), { contentVersion: 0, stateVersion: 5 });
});

test('I6: an answer that has not settled is kept for itself, and for the readings in progress', (t) => {
  const { floors } = floorsOf({ horizon: 0, settled: new Set() });
  const end = floors.beginReading();
  floors.given('a', stamps(20));
  t.is(floors.size, 2);
  end();
  t.is(floors.size, 1);
});

test('I10: Redis is asked one question at a time, of 2,000 versions at most, and of each version in turn', async (t) => {
  const { floors, questions } = floorsOf({ horizon: 0, settled: new Set() });
  for (let i = 0; i < 2500; i++) floors.given(`id.${i}`, stamps(20));
  await eventually(() => questions.length >= 2, 'asks about those that are kept');
  t.true(questions.length < 10, `${questions.length} questions`);
  const [first = [], second = []] = questions;
  t.deepEqual([first.length, second.length], [2000, 2000]);
  t.is(new Set([...first, ...second]).size, 2500);
  floors.close();
});

test('Redis is not asked again while nothing is kept, nor after the end', async (t) => {
  const { floors, asked } = floorsOf({ horizon: 0, settled: new Set() });
  await eventually(() => asked() === 1, 'asks at the start');
  // Three times as long as between two questions.
  await sleep(150);
  t.is(asked(), 1);
  floors.close();
  floors.given('a', stamps(20));
  await sleep(150);
  t.is(asked(), 1);
});

test('I6: a page is watched from the floors on that are known when it begins', (t) => {
  const { floors } = floorsOf({ horizon: 0, settled: new Set() });
  floors.given('newer', stamps(20));
  const watch = floors.watch(
    new Map([
      ['newer', stamps(10)],
      ['same', stamps(20)],
    ]),
  );
  t.true(watch.isOutdated('newer'));
  t.false(watch.isOutdated('same'));
  floors.given('same', stamps(20));
  floors.given('not on it', stamps(30));
  t.false(watch.isOutdated('same'));
  t.deepEqual(
    [
      watch.isBelow('same', undefined),
      watch.isBelow('same', stamps(19)),
      watch.isBelow('not on it', stamps(40)),
    ],
    [false, false, false],
  );
  floors.given('same', stamps(21));
  t.true(watch.isOutdated('same'));
});

test('I10: while Redis cannot be asked, only versions above the last horizon are kept, and let go afterwards', async (t) => {
  const redis = { horizon: 1000, settled: new Set<string>(), away: false };
  const { floors, asked } = floorsOf(redis);
  await eventually(() => asked() === 1, 'the horizon is asked for');
  redis.away = true;
  for (let i = 0; i < 100; i++) floors.given(`id.${i}`, stamps(950 + i));
  t.is(floors.size, 50);
  await eventually(() => asked() > 3, 'asks again');
  t.is(floors.size, 50);
  redis.settled = new Set(Array.from({ length: 100 }, (_, i) => `id.${i}`));
  redis.away = false;
  await eventually(() => floors.size === 0, 'all have settled');
});

test('I6: a floor that Redis said to have settled is told, for reads that looked before', async (t) => {
  const { floors } = floorsOf({ horizon: 0, settled: new Set(['a']) });
  const told: string[] = [];
  floors.listen((id, { contentVersion }) => told.push(`${id}@${contentVersion}`));
  floors.given('a', stamps(20));
  floors.given('b', stamps(20));
  await eventually(() => told.length > 0, 'told');
  t.deepEqual(told, ['a@20']);
  t.is(floors.of('b')?.contentVersion, 20);
});

test('I6 I10: what has settled: below the oldest chunk in flight, or of an id that is not pending and no stamp of a chunk in flight', async (t) => {
  const deployment = await createDeployment(ONE_LANE);
  t.teardown(() => deployment.close());
  const { redis, keys } = deployment;
  t.deepEqual(await settledCheck(redis, keys, []), { horizon: 0, settled: [] });
  await redis.hset(keys.clock, 'last', 500);
  t.deepEqual(await settledCheck(redis, keys, [seen('a', 500)]), { horizon: 501, settled: [true] });
  // One chunk is stuck; what came later has settled, but for two writes and one range delete.
  const [stuck, range, chunk, hidden] = [10_000, 30_000, 50_000, 70_000];
  await redis.zadd(keys.inflight, stuck, 'stuck', range, 'range', chunk, 'chunk', hidden, 'hidden');
  await redis.zadd(keys.ranges, range, 'range');
  // A later write of `hidden` settled first, and took the note of both away.
  await redis.hset(keys.pending, 'stuck', stuck, 'b', chunk);
  const answer = await settledCheck(redis, keys, [
    seen('a', 9999, 9999),
    seen('stuck', stuck),
    seen('a', 20_000),
    seen('b', chunk),
    seen('a', 9999, 20_000),
    seen('deleted', range, range),
    seen('state deleted', 20_000, range),
    seen('hidden', hidden),
    seen('hidden', 20_000, hidden + 1),
  ]);
  t.deepEqual(answer, {
    horizon: stuck,
    settled: [true, false, true, false, true, false, false, false, false],
  });
});

test('I6: what was known of the horizon when a reading began does not change while it goes on', async (t) => {
  const deployment = await createDeployment(ONE_LANE);
  t.teardown(() => deployment.close());
  const { redis, keys, lanes } = deployment;
  const ask = settledQuestion(redis, lanes, 1000);
  await redis.hset(keys.clock, 'last', 500);
  const { horizonOf } = await ask([]);
  await redis.hset(keys.clock, 'last', 900);
  t.is((await ask([])).horizonOf('a'), 901);
  t.is(horizonOf('a'), 501);
});

test('I6: what has settled is answered while Redis is out of memory, too', async (t) => {
  const server = await startRedisServer();
  const redis = createRedis(server.url, 'failFast', createLogger('test', 'silent'));
  t.teardown(async () => {
    await closeRedis(redis);
    await server.close();
  });
  await whenReady(redis, 5000);
  const keys = keysOf('full');
  await redis.hset(keys.clock, 'last', 500);
  await redis.config('SET', 'maxmemory', '1');
  await t.throwsAsync(redis.set('a', 'b'), { message: /^OOM/ });
  t.deepEqual(await settledCheck(redis, keys, [seen('a', 500)]), { horizon: 501, settled: [true] });
});

test('I10: an answer that settled before the readings in progress began is not kept', (t) => {
  const recent = new RecentAnswers();
  recent.horizonIs(() => 100);
  recent.begin()();
  recent.begin();
  recent.note('settled', { contentVersion: 99, stateVersion: 99 });
  t.is(recent.size, 0);
  recent.note('content', { contentVersion: 100, stateVersion: 0 });
  recent.note('state', { contentVersion: 99, stateVersion: 100 });
  t.is(recent.size, 2);
});

test('I6 I10: an answer is kept while any reading goes on that began before it, and nothing when none goes on', (t) => {
  fc.assert(
    fc.property(fc.array(fc.nat(5), { maxLength: 200, size: 'max' }), (steps) => {
      const recent = new RecentAnswers();
      const open: { end: () => void; since: Map<string, number> }[] = [];
      let version = 0;
      for (const step of steps) {
        if (step <= 1) open.push({ end: recent.begin(), since: new Map() });
        else if (step <= 2) open.splice(version % Math.max(1, open.length), 1)[0]?.end();
        else {
          const id = `id.${step}`;
          recent.note(id, stamps(++version));
          for (const { since } of open) since.set(id, version);
        }
        for (const { since } of open) {
          for (const [id, noted] of since) if ((recent.of(id)?.contentVersion ?? 0) < noted) return false;
        }
      }
      for (const { end } of open) end();
      return recent.size === 0;
    }),
    { numRuns: 500 },
  );
  t.pass();
});
