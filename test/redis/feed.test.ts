import test from 'ava';
import { FeedTail } from '../../src/redis/feed.ts';
import { createDeployment } from '../helpers/deployment.ts';
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
