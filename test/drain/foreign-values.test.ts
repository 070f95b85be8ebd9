import test, { type ExecutionContext } from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { bucketOf } from '../../src/keys.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { IoRedis } from '../../src/redis/driver.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { closing } from '../helpers/setting.ts';

/** Longer than any batch takes, on a busy machine too. */
const SETTLES = { timeoutMs: 20_000 };

async function setUp(t: ExecutionContext) {
  const server = closing(t, await startRedisServer({ appendonly: 'no' }));
  const deployment = closing(
    t,
    await createDeployment({ ...ONE_LANE, cacheRedisUrl: server.url, l1MaxBytes: 0 }),
  );
  closing(t, await startDrain(deployment.options));
  const store = closing(t, await openStore(deployment.options));
  return { deployment, store };
}

const VALUES: Readonly<Record<string, (cache: IoRedis, key: string) => Promise<unknown>>> = {
  'a hash': (cache, key) => cache.hset(key, 'field', 'value'),
  'a list': (cache, key) => cache.lpush(key, 'value'),
  'a text that would be newer': (cache, key) => cache.set(key, 'z'.repeat(200)),
  'a short text': (cache, key) => cache.set(key, 'zzzz'),
  'a number': (cache, key) => cache.set(key, '9'.repeat(10)),
};

for (const [what, put] of Object.entries(VALUES)) {
  test(`I3 I9: ${what} in the place of a copy holds nobody up and is written over`, async (t) => {
    const { deployment, store } = await setUp(t);
    const { cache, keys } = deployment;
    for (const id of ['new', 'known', 'epoch']) {
      if (id !== 'new') await (await store.submit({ id, content: 1 })).settled(SETTLES);
      const key =
        id === 'epoch' ? (deployment.items.session?.copies.epoch(bucketOf(id)) as string) : keys.item(id);
      await cache.del(key);
      await put(cache, key);
      const ticket = await store.submit({ id, content: 'mine' });
      t.is((await ticket.settled(SETTLES)).status, 'applied', id);
      t.regex((await cache.get(keys.item(id))) ?? '', /"mine"$/, id);
    }
  });

  test(`I7 I8: reads take ${what} in the place of a copy for none`, async (t) => {
    const { deployment, store } = await setUp(t);
    const { cache, keys, options } = deployment;
    await (
      await store.submitMany([
        { id: 'a', content: 1 },
        { id: 'b', content: 2 },
      ])
    ).settled(SETTLES);
    await (await store.delete('b')).settled(SETTLES);
    for (const id of ['a', 'b', 'nobody']) {
      await cache.del(keys.item(id));
      await put(cache, keys.item(id));
    }
    const reader = await openReader({ ...options, filterMaxBytes: 0 });
    t.deepEqual(await Promise.all(['a', 'b', 'nobody'].map((id) => reader.contains(id))), [
      true,
      false,
      false,
    ]);
    t.like(await reader.status('a'), { status: 'synced', inL2: false, inL3: true });
    t.deepEqual(
      (await reader.getMany(['a', 'b', 'nobody'])).map((item) => item?.content),
      [1, undefined, undefined],
    );
    t.is(reader.counters.l2.failures, 0);
    await reader.close();
  });
}

test('I3 I6: a cache without memory loses its older copies and holds nobody up', async (t) => {
  const { deployment, store } = await setUp(t);
  const { cache, keys, options } = deployment;
  await (await store.submit({ id: 'a', content: 'old' })).settled(SETTLES);
  await cache.config('SET', 'maxmemory', '1');
  t.is((await (await store.submit({ id: 'a', content: 'new' })).settled(SETTLES)).status, 'applied');
  t.is(await cache.exists(keys.item('a')), 0);
  const reader = await openReader(options);
  t.is((await reader.get('a'))?.content, 'new');
  await (await store.submit({ id: 'b', content: 1 }, { tiers: 'cache' })).settled(SETTLES);
  await (await store.deletePrefix('a')).settled(SETTLES);
  t.is(await reader.get('a'), undefined);
  t.false(await reader.contains('a'));
  await cache.config('SET', 'maxmemory', '0');
  await (await store.submit({ id: 'a', content: 'again' })).settled(SETTLES);
  t.is((await reader.lookup('a')).tier, 'l2', 'copies are kept again');
  await reader.close();
});
