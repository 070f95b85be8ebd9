import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Reader } from '../../src/types/read.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { createRedis } from '../../src/redis/driver.ts';
import { closing } from '../helpers/setting.ts';

const IDS = ['updated', 'deleted', 'range.1', 'range.2'];

async function seenBy(reader: Reader): Promise<unknown[]> {
  const items = await reader.getMany(IDS);
  return [
    ...items.map((item) => item?.content),
    ...(await Promise.all(IDS.map((id) => reader.contains(id)))),
  ];
}

const NOW = [2, undefined, undefined, undefined, true, false, false, false];

for (const own of [true, false]) {
  test(`I4 I6 I7: a ${own ? 'cache' : 'Redis for all'} that was killed and came back from an older snapshot is not believed`, async (t) => {
    const server = await startRedisServer({ appendonly: 'no' });
    const deployment = await createDeployment(own ? { cacheRedisUrl: server.url } : { redisUrl: server.url });
    const meddler = createRedis(server.url, 'patient', deployment.log);
    const drain = await startDrain(deployment.options);
    const store = await openStore(deployment.options);
    const old = await openReader({ ...deployment.options, l1MaxBytes: 0 });
    t.teardown(async () => {
      meddler.disconnect();
      await Promise.all([old.close(), store.close(), drain.close()]);
      await deployment.close();
      await server.close();
    });
    await (await store.submitMany(IDS.map((id) => ({ id, content: 1 })))).settled();
    t.is((await old.lookup('updated')).tier, 'l2');
    await meddler.save();
    await (await store.submit({ id: 'updated', content: 2 })).settled();
    await (await store.delete('deleted')).settled();
    await (await store.deletePrefix('range.')).settled();

    await server.restart();
    await eventually(
      async () => (await meddler.keys('*:item:*deleted')).length > 0,
      'the old copies are there',
    );
    for (let round = 0; round < 3; round++) {
      const fresh = await openReader(deployment.options);
      t.deepEqual(await seenBy(fresh), NOW);
      await fresh.close();
      t.deepEqual(await seenBy(old), NOW);
    }
    await eventually(
      async () => (await old.lookup('updated')).tier === 'l2',
      'L2 is filled and in use again',
    );
    t.deepEqual(await seenBy(old), NOW);
  });
}

test('a cache that never comes back older keeps its copies over a restart', async (t) => {
  const server = closing(t, await startRedisServer());
  const deployment = closing(t, await createDeployment({ cacheRedisUrl: server.url, cacheNeverOlder: true }));
  closing(t, await startDrain(deployment.options));
  const store = closing(t, await openStore(deployment.options));
  await (await store.submit({ id: 'a', content: 1 })).settled();
  await server.restart();
  const reader = await openReader(deployment.options);
  t.is((await reader.lookup('a')).tier, 'l2');
  await reader.close();
  await eventually(
    async () => (await (await store.submit({ id: 'a', content: 2 })).settled()).status === 'applied',
    'the worker goes on',
  );
});
