import { randomUUID } from 'node:crypto';
import test from 'ava';
import { clockEpoch, isClockRaised, raiseClock, takeStamps } from '../../src/redis/chunk-notes.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';

let deployment: Deployment;
test.beforeEach(async () => {
  deployment = await createDeployment(ONE_LANE);
});
test.afterEach.always(() => deployment.close());

test.serial('I1: ranges of stamps follow each other without touching, also when taken at once', async (t) => {
  const { redis, keys } = deployment;
  const ids = Array.from({ length: 2500 }, (_, i) => `k.${i}`);
  const ranges = await Promise.all(
    Array.from({ length: 20 }, () => takeStamps(redis, keys, randomUUID(), ids)),
  );
  const firsts = ranges.map(({ first }) => first);
  t.deepEqual(
    firsts,
    firsts.toSorted((a, b) => a - b),
  );
  for (let i = 1; i < firsts.length; i++)
    t.true((firsts[i] as number) >= (firsts[i - 1] as number) + ids.length);
  t.true(Number.isSafeInteger(firsts.at(-1)));
  t.is(new Set(ranges.map(({ epoch }) => epoch)).size, 1);
  t.is(await redis.hget(keys.pending, 'k.2499'), String((firsts.at(-1) as number) + 2499));
  t.is((await redis.zrange(keys.inflight, '0', '0', 'WITHSCORES'))[1], String(firsts[0]));
});

test.serial('I1: the clock stays ahead of a server whose time runs back', async (t) => {
  const { redis, keys } = deployment;
  const future = Date.now() * 1000 + 86_400_000_000;
  await redis.hset(keys.clock, 'last', future);
  const { first } = await takeStamps(redis, keys, randomUUID(), ['a', 'b']);
  t.is(first, future + 1);
  t.is((await takeStamps(redis, keys, randomUUID(), ['a'])).first, future + 3);
});

test.serial(
  'I1: raised above the rows, the clock never gives a stamp up to there, nor falls back',
  async (t) => {
    const { redis, keys } = deployment;
    t.false(await isClockRaised(redis, keys));
    const future = Date.now() * 1000 + 86_400_000_000;
    await raiseClock(redis, keys, future);
    t.true(await isClockRaised(redis, keys));
    await raiseClock(redis, keys, 5);
    t.is((await takeStamps(redis, keys, randomUUID(), ['a'])).first, future + 1);
  },
);

test.serial('I8: the epoch stays while Redis keeps its data, and changes when it lost it', async (t) => {
  const { redis, keys } = deployment;
  const epoch = await clockEpoch(redis, keys);
  t.is((await takeStamps(redis, keys, randomUUID(), ['a'])).epoch, epoch);
  t.is(await clockEpoch(redis, keys), epoch);
  await deployment.emptyRedis();
  t.not(await clockEpoch(redis, keys), epoch);
});
