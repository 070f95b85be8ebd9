import test, { type ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { CacheGeneration } from '../../src/redis/cache-generation.ts';
import { createRedis } from '../../src/redis/driver.ts';
import { FeedTail } from '../../src/redis/feed.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/proxy.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { closing } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext, options: Options = {}) {
  const server = closing(t, await startRedisServer({ appendonly: 'no' }));
  const proxy = closing(t, await startProxy(server.url));
  const deployment = closing(
    t,
    await createDeployment({ ...ONE_LANE, cacheRedisUrl: server.url, ...options }),
  );
  return { deployment, server, proxy };
}

/** What a process keeps: a connection of its own, and its place on the feed. */
async function processOf(
  t: ExecutionContext,
  { config, keys, lanes, log, redis }: Deployment,
  cacheUrl: string,
) {
  const cache = createRedis(cacheUrl, 'failFast', log);
  const generation = new CacheGeneration(cache, redis, () => Promise.resolve(lanes), config, log);
  const tail = new FeedTail(config.redisUrl, keys, log);
  tail.listen(generation);
  t.teardown(async () => {
    generation.close();
    cache.disconnect();
    await tail.close();
  });
  await cache.connect();
  await tail.start(5000);
  await generation.known(5000);
  return { cache, generation, tail, name: () => generation.session?.copies.generation };
}

test('the generation stays with its server, over connections and processes', async (t) => {
  const { deployment, proxy } = await setUp(t);
  const one = await processOf(t, deployment, proxy.url);
  const two = await processOf(t, deployment, proxy.url);
  const name = one.name();
  t.is(two.name(), name);
  const session = one.generation.session;
  proxy.cut();
  await eventually(() => one.generation.session !== session && one.name() === name, 'it is the same server');
});

test('I6: until the queue has said whether the server is the same, its copies are neither read nor written', async (t) => {
  const { deployment, proxy, server } = await setUp(t);
  const queue = await startProxy(deployment.options.redisUrl);
  const queueRedis = createRedis(queue.url, 'failFast', deployment.log);
  await queueRedis.connect();
  const one = await processOf(t, { ...deployment, redis: queueRedis }, proxy.url);
  t.teardown(async () => {
    queueRedis.disconnect();
    await queue.close();
  });
  const name = one.name();
  await queue.refuse();
  await server.restart();
  await eventually(() => one.cache.status === 'ready', 'the cache is back');
  t.is(one.generation.session, undefined);
  await queue.open();
  await eventually(() => one.name() !== undefined, 'the queue is back');
  t.not(one.name(), name);
});

test('I6: who still talks to the server that was replaced moves to the new one, told by the feed', async (t) => {
  const { deployment, proxy } = await setUp(t);
  const replica = closing(t, await startRedisServer({ appendonly: 'no' }));
  const before = await processOf(t, deployment, proxy.url);
  const name = before.name();
  proxy.retarget(replica.url);
  const after = await processOf(t, deployment, proxy.url);
  t.not(after.name(), name);
  await eventually(() => before.name() === after.name(), 'the feed has told it');
  await before.cache.set('where', 'here');
  t.is(await after.cache.get('where'), 'here', 'both use one server');
  t.is(before.tail.position.number, 1, 'one entry for one new generation');
});

/** A worker and a store that wrote `a`. Then another server took the place of theirs. */
async function failOver(t: ExecutionContext) {
  const { deployment, proxy } = await setUp(t);
  const replica = closing(t, await startRedisServer({ appendonly: 'no' }));
  const options = { ...deployment.options, cacheRedisUrl: proxy.url, l1MaxBytes: 0 };
  closing(t, await startDrain(options));
  const store = closing(t, await openStore(options));
  await (await store.submit({ id: 'a', content: 1 })).settled();
  proxy.retarget(replica.url);
  return { deployment, replica, options, store };
}

test('I6: a worker and readers on both sides of a failover agree on what has settled', async (t) => {
  const { options, store } = await failOver(t);
  const reader = closing(t, await openReader(options));
  t.is((await reader.get('a'))?.content, 1, 'and fills the new server with it');
  // The worker has no feed: it hears of the new generation when it settles.
  await (await store.submit({ id: 'a', content: 2 })).settled();
  t.is((await reader.get('a'))?.content, 2);
  t.is((await store.get('a'))?.content, 2);
});

test('I3: a cache server that became a replica is left for the one that took its place', async (t) => {
  const { deployment, replica, store } = await failOver(t);
  const { hostname, port } = new URL(replica.url);
  await deployment.cache.replicaof(hostname, Number(port));
  await (await store.submit({ id: 'a', content: 2 })).settled({ timeoutMs: 20_000 });
  t.is((await store.get('a'))?.content, 2);
  await deployment.cache.replicaof('NO', 'ONE');
});

test('a queue that was emptied gives a generation that was not used before', async (t) => {
  const { deployment, proxy } = await setUp(t);
  const one = await processOf(t, deployment, proxy.url);
  const name = one.name();
  await deployment.redis.del(deployment.keys.cache);
  await one.generation.confirm();
  await one.generation.known(5000);
  t.not(one.name(), name);
});

test('I8: a cache that does not tell its run id is refused with the way out', async (t) => {
  const { deployment, proxy, server } = await setUp(t);
  const admin = createRedis(server.url, 'failFast', deployment.log);
  await admin.connect();
  await admin.acl('SETUSER', 'app', 'on', '>secret', '~*', '&*', '+@all', '-info');
  admin.disconnect();
  const url = new URL(proxy.url);
  url.username = 'app';
  url.password = 'secret';
  await t.throwsAsync(openReader({ ...deployment.options, cacheRedisUrl: url.href }), { message: /info/i });
});
