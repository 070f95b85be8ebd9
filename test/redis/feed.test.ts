import test, { type ExecutionContext } from 'ava';
import { FeedTail } from '../../src/redis/feed.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/proxy.ts';
import { closing } from '../helpers/setting.ts';

/** A tail that has not started. */
async function setUp(t: ExecutionContext) {
  const deployment = closing(t, await createDeployment());
  const { redis, keys, options, log } = deployment;
  return { redis, keys, tail: closing(t, new FeedTail(options.redisUrl, keys, log)) };
}

test('I12: a tail whose connections are cut while it starts takes its place in time, or says why not', async (t) => {
  const deployment = await createDeployment();
  const proxy = await startProxy(deployment.options.redisUrl);
  const tail = new FeedTail(proxy.url, deployment.keys, deployment.log);
  const late = new FeedTail(proxy.url, deployment.keys, deployment.log);
  t.teardown(async () => {
    await tail.close();
    await late.close();
    await proxy.close();
    await deployment.close();
  });
  proxy.freeze();
  const started = tail.start(5000);
  const cutting = setInterval(() => proxy.cut(), 30);
  await t.throwsAsync(late.start(300));
  clearInterval(cutting);
  await proxy.open();
  await started;
  t.true(tail.live);
});

test('I6: entries of a promoted replica whose clock is behind are told as a loss, and followed', async (t) => {
  const { tail, redis, keys } = await setUp(t);
  const gaps: string[] = [];
  const seen: string[] = [];
  tail.listen({ onGap: (kind) => gaps.push(kind), onEntry: ({ id }) => seen.push(id) });
  const entry = async (id: string) => {
    const number = await redis.hincrby(keys.clock, 'entries', 1);
    await redis.xadd(keys.feed, id, 'n', number, 'jobs', '', 'changes', '{}');
  };
  await tail.start(5000);
  await entry('2000-1');
  await eventually(() => seen.length === 1, 'the entry is delivered');
  await redis.multi().del(keys.feed).hincrby(keys.clock, 'entries', -1).exec();
  await entry('1000-1');
  await entry('1000-2');
  await eventually(() => gaps.length === 1, 'the loss is told');
  await entry('1000-3');
  await eventually(() => seen.at(-1) === '1000-3', 'the feed is followed');
  t.deepEqual(gaps, ['lost']);
});

test('I6 I8: of a Redis that was emptied every entry is delivered, also those from before that was noticed', async (t) => {
  const { tail, redis, keys } = await setUp(t);
  const told: string[] = [];
  tail.listen({ onGap: (kind) => told.push(kind), onEntry: ({ id }) => told.push(id) });
  const entries = (...ids: string[]) =>
    ids.reduce(
      (multi, id, i) => multi.xadd(keys.feed, id, 'n', i + 1, 'jobs', '', 'changes', '{}'),
      redis.multi().del(keys.feed, keys.clock).hset(keys.clock, 'epoch', ids.join(), 'entries', ids.length),
    );
  await tail.start(5000);
  await entries('1-1').exec();
  await eventually(() => told.at(-1) === '1-1', 'the feed is followed');
  // The second time its clock is behind, so that nothing wakes the tail.
  for (const ids of [
    ['2000-1', '2000-2', '2000-3'],
    ['1000-1', '1000-2'],
    ['3000-1', '3000-2', '3000-3'],
  ]) {
    told.length = 0;
    await entries(...ids).exec();
    await eventually(() => told.at(-1) === ids.at(-1), 'the last entry is delivered');
    t.deepEqual(told, ['lost', ...ids]);
    t.is(tail.position.number, ids.length);
  }
});
