import test from 'ava';
import { FeedTail } from '../../src/redis/feed.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/proxy.ts';

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
  const deployment = await createDeployment();
  const { redis, keys } = deployment;
  const tail = new FeedTail(deployment.options.redisUrl, keys, deployment.log);
  t.teardown(async () => {
    await tail.close();
    await deployment.close();
  });
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
