import test, { type ExecutionContext } from 'ava';
import { LOOK_MS } from '../../src/redis/cache-session.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf } from '../helpers/operations.ts';
import { startProxy } from '../helpers/proxy.ts';
import { openReadSide, type ReadSide } from '../helpers/read-side.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { writerOf } from '../helpers/writer.ts';
import { closing } from '../helpers/setting.ts';

const FIRST = Date.now() * 1000;

/** A reader that does not see the feed, on a cache of the test's own. */
async function setUp(t: ExecutionContext): Promise<{ deployment: Deployment; side: ReadSide }> {
  const server = closing(t, await startRedisServer({ appendonly: 'no' }));
  const deployment = closing(
    t,
    await createDeployment({ ...ONE_LANE, cacheRedisUrl: server.url, filterMaxBytes: 0 }),
  );
  const feed = closing(t, await startProxy(deployment.options.redisUrl));
  const side = closing(t, await openReadSide(deployment, feed.url));
  await writerOf(deployment).write([chunkOf([{ id: 'a', stamp: FIRST, kind: 'json', body: '"old"' }])]);
  await deployment.cache.del(deployment.keys.item('a'));
  await feed.refuse();
  await eventually(() => !side.tail.live, 'the feed is out of sight');
  return { deployment, side };
}

const LOSSES: Readonly<Record<string, (deployment: Deployment) => Promise<unknown>>> = {
  'evicted after the deadline': async ({ cache, keys, items }) => {
    const look = items.look();
    await eventually(() => (items.look()?.at ?? 0) >= (look?.at ?? 0) + LOOK_MS, 'the clock goes on');
    await cache.del(keys.item('a'));
  },
  'FLUSHALL at once': ({ cache }) => cache.flushall(),
};

for (const [how, lose] of Object.entries(LOSSES)) {
  test(`I4 I6: what a read found before a delete is not filled into L2 after it: ${how}`, async (t) => {
    const { deployment, side } = await setUp(t);
    const arrived = side.l3.gate.shut();
    const read = side.reads.get('a');
    await arrived;
    await writerOf(deployment).write([chunkOf([{ id: 'a', stamp: FIRST + 1, kind: 'delete' }])]);
    await lose(deployment);
    side.l3.gate.open();
    await read;
    await eventually(() => side.l2.counters.unfilled === 1, 'refused and counted');
    t.is(await deployment.cache.exists(deployment.keys.item('a')), 0);
    t.false(await side.existence.exists('a'));
  });
}

test('a read that nothing holds up is filled in', async (t) => {
  const { deployment, side } = await setUp(t);
  await side.reads.get('a');
  await eventually(
    async () => (await deployment.cache.exists(deployment.keys.item('a'))) === 1,
    'L2 is filled from L3',
  );
  t.is(side.l2.counters.unfilled, 0);
});
