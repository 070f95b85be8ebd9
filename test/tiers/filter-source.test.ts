import test from 'ava';
import { FilterSource } from '../../src/tiers/filter-source.ts';
import { ONE_LANE } from '../helpers/deployment.ts';
import { createSetting } from '../helpers/setting.ts';

test('I7: a stored filter is not brought up to date from a place that Redis lost in a failover', async (t) => {
  const { deployment } = await createSetting(t, ONE_LANE);
  const { redis, keys, shards, lanes, log } = deployment;
  const source = new FilterSource(shards, redis, lanes, 0, log);
  const announce = async (entry: string, id: string) => {
    const number = await redis.hincrby(keys.clock, 'entries', 1);
    const changes = JSON.stringify({ ids: [id], cv: [number], kinds: 'p' });
    await redis.xadd(keys.feed, entry, 'n', number, 'jobs', '[]', 'changes', changes);
  };
  await redis.hset(keys.clock, 'epoch', 'e');
  await announce('1000-1', 'a');
  await announce('2000-1', 'lost');
  await source.store(await source.begin());
  const caughtUp = async () => {
    const stored = await source.snapshot();
    if (stored === undefined) throw new Error('no snapshot');
    return (await source.catchUp(stored.filter, stored.position)) === undefined ? undefined : stored.filter;
  };
  await announce('2500-1', 'b');
  t.true((await caughtUp())?.has('b'));

  // The replica that took over lacks what came after the first entry, and its clock is behind.
  await redis.del(keys.feed);
  await redis.hset(keys.clock, 'entries', 0);
  await announce('1000-1', 'a');
  await announce('1500-1', 'live');
  await announce('3000-1', 'later');
  t.is(await caughtUp(), undefined);
});
