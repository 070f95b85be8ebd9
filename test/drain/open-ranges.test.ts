import { randomUUID } from 'node:crypto';
import test from 'ava';
import { OpenRanges } from '../../src/drain/batch-writer.ts';
import { isPassed, othersBefore, readFrontier } from '../../src/redis/in-flight.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { noteRange } from '../helpers/noted-range.ts';
import { chunkOf } from '../helpers/operations.ts';
import { closing } from '../helpers/setting.ts';

const setState = (id: string, stamp: number) => chunkOf([{ id, stamp, kind: 'state', state: 'open' }]);

test('a setState waits for the newest earlier range of a state, or of a prefix of its id, and for no other', (t) => {
  const ranges = new OpenRanges([
    { kind: 'prefix', value: 'a.', stamp: 10 },
    { kind: 'prefix', value: 'a.1', stamp: 20 },
    { kind: 'prefix', value: 'é', stamp: 25 },
    { kind: 'prefix', value: 'a.', stamp: 40 },
  ]);
  t.is(ranges.blocking(setState('a.1', 30)), 20);
  t.is(ranges.blocking(setState('a.2', 30)), 10);
  t.is(ranges.blocking(setState('a.2', 50)), 40);
  t.is(ranges.blocking(setState('a.2', 5)), undefined, 'all are later');
  t.is(ranges.blocking(setState('b.1', 50)), undefined);
  t.is(ranges.blocking(setState('élan', 50)), 25);
  t.is(ranges.blocking(setState('a', 50)), undefined, 'shorter than the prefix');
  const mixed = chunkOf([
    { id: 'a.1', stamp: 50, kind: 'json', body: '1' },
    { id: 'b.1', stamp: 51, kind: 'state', state: 'open' },
  ]);
  t.is(ranges.blocking(mixed), undefined, 'only ids whose state is set count');
  t.is(new OpenRanges([{ kind: 'state', value: 'x', stamp: 30 }]).blocking(setState('b', 31)), 30);
});

test('the frontier looks past ranges for the oldest chunk, and nothing in flight passes every barrier', async (t) => {
  const deployment = closing(t, await createDeployment(ONE_LANE));
  const { redis, keys } = deployment;
  const frontier = async () => {
    const { chunks, ranges } = await readFrontier(redis, keys);
    return { chunks, ranges };
  };
  const none = { chunks: Number.POSITIVE_INFINITY, ranges: Number.POSITIVE_INFINITY };
  t.deepEqual(await frontier(), none);
  t.true(isPassed({ chunks: Number.MAX_SAFE_INTEGER, ranges: Number.MAX_SAFE_INTEGER }, none));
  await noteRange(deployment, randomUUID(), { v: 1, kind: 'prefix', value: 'a', stamp: 10 });
  await noteRange(deployment, randomUUID(), { v: 1, kind: 'prefix', value: 'a', stamp: 20 });
  t.deepEqual(await frontier(), { chunks: Number.POSITIVE_INFINITY, ranges: 10 });
  await redis.zadd(keys.inflight, 30, 'chunk', 40, 'other');
  t.deepEqual(await frontier(), { chunks: 30, ranges: 10 });
  await redis.zadd(keys.inflight, 5, 'oldest');
  t.deepEqual(await frontier(), { chunks: 5, ranges: 10 });
  await redis.zrem(keys.inflight, 'oldest', 'chunk', 'other');
  for (let stamp = 21; stamp < 60; stamp++) {
    await noteRange(deployment, randomUUID(), { v: 1, kind: 'prefix', value: 'a', stamp });
  }
  const { chunks } = await frontier();
  t.true(chunks > 10 && chunks < 60, 'a long row of ranges: no further than was looked at');
});

test('ranges in a row have nobody before them but each other', async (t) => {
  const deployment = closing(t, await createDeployment(ONE_LANE));
  const { redis, keys } = deployment;
  await redis.zadd(keys.inflight, 10, 'a', 20, 'b', 25, 'chunk', 30, 'c');
  const before = (...jobs: [string, number][]) =>
    othersBefore(
      redis,
      keys,
      jobs.map(([chunkId, first]) => ({ chunkId, first })),
    );
  t.deepEqual(await before(['a', 10], ['b', 20], ['c', 30]), [0, 0, 1]);
  t.deepEqual(await before(['b', 20]), [1]);
  t.deepEqual(await before(['settled', 5], ['a', 10]), [0, 0]);
});
