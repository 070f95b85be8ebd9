import test from 'ava';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/proxy.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { startWorker } from '../helpers/worker-process.ts';

test('I4 I6: a worker stopped past its lock, with copies on their way, does not bring a deleted item back', async (t) => {
  const server = await startRedisServer({ appendonly: 'no' });
  const deployment = await createDeployment({ cacheRedisUrl: server.url });
  const cache = await startProxy(server.url);
  const env = { ...deployment.env, TIERLINE_CHUNK_LOCK_MS: '1000' };
  const stopped = await startWorker('drain', { ...env, CACHE_REDIS_URL: cache.url });
  t.teardown(async () => {
    await stopped.stop('SIGKILL');
    await cache.close();
    await deployment.close();
    await server.close();
  });
  const store = await openStore(deployment.options);
  await (await store.submit({ id: 'warm', content: 1 })).settled();

  cache.freeze();
  const ticket = await store.submit({ id: 'a', content: 'old' });
  const isStored = async () => (await deployment.query(`SELECT FROM items WHERE id = 'a'`)).length === 1;
  await eventually(isStored, 'the row is written, its copy is held up on the way');
  stopped.child.kill('SIGSTOP');

  const other = await startWorker('drain', env);
  t.teardown(() => other.stop('SIGKILL'));
  await ticket.settled();
  await (await store.delete('a')).settled();
  const copies = async () => {
    const found = await deployment.cache.keys(`${deployment.keys.itemPrefix}*:a`);
    return Promise.all(found.map((key) => deployment.cache.get(key)));
  };
  t.regex((await copies()).join(), /^1d/);
  await deployment.cache.del(await deployment.cache.keys(`${deployment.keys.itemPrefix}*:a`));

  stopped.child.kill('SIGCONT');
  await cache.open();
  await eventually(async () => (await copies()).length > 0, 'the stopped worker goes on');
  t.regex((await copies()).join(), /^1d/);
  const reader = await openReader(deployment.options);
  t.is(await reader.get('a'), undefined);
  t.false(await reader.contains('a'));
  await reader.close();
  await store.close();
});
