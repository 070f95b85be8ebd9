import test, { type ExecutionContext } from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import type { Options } from '../../src/config.ts';
import { ClosedError, InvalidItemError } from '../../src/errors.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { countExisting, removeEach } from '../helpers/redis-keys.ts';

async function setUp(t: ExecutionContext, options: Options = {}) {
  const deployment = await createDeployment(options);
  const drain = await startDrain(deployment.options);
  const store = await openStore(deployment.options);
  const reader = await openReader(deployment.options);
  t.teardown(async () => {
    for (const thing of [reader, store, drain, deployment]) await thing.close();
  });
  return { deployment, drain, store, reader };
}

test('each tier answers in its turn, and lookup says which', async (t) => {
  const { deployment, store, reader } = await setUp(t);
  const ticket = await store.submit({ id: 'a', content: { n: 1 }, state: 'new' });
  const own = await store.lookup('a');
  t.is(own.item?.version, ticket.version);
  t.deepEqual(await ticket.settled(), { status: 'applied', version: ticket.version });

  t.like(await reader.lookup('a'), {
    found: true,
    tier: 'l2',
    item: { content: { n: 1 }, state: 'new', version: ticket.version },
  });
  t.like(await reader.lookup('a'), { found: true, tier: 'l1' });
  t.is((await reader.lookup('a')).item, reader.peek('a'), 'one frozen value, shared');
  t.true(Object.isFrozen(reader.peek('a')?.content));

  await deployment.redis.del(deployment.keys.item('a'));
  const other = await openReader(deployment.options);
  t.like(await other.lookup('a'), { found: true, tier: 'l3' });
  await eventually(
    async () => (await deployment.redis.exists(deployment.keys.item('a'))) === 1,
    'L2 is filled from L3',
  );
  await other.close();

  t.deepEqual(await reader.lookup('nobody'), { found: false, tier: 'none' });
  t.is(await reader.get('nobody'), undefined);
});

test('a reader that closes right after a cold read leaves L2 filled', async (t) => {
  const { deployment, store } = await setUp(t);
  const { redis, keys, options } = deployment;
  const ids = Array.from({ length: 3000 }, (_, n) => `cold.${n}`);
  await (await store.submitMany(ids.map((id) => ({ id, content: id })))).settled();
  const copies = ids.map((id) => keys.item(id));
  // More than one write of copies, which closing has a second for, and a busy machine may need longer: then once more.
  await eventually(
    async () => {
      await removeEach(redis, copies);
      const other = await openReader(options);
      const items = await other.getMany(ids);
      await other.close();
      t.true(items.every((item) => item?.content === item?.id));
      return (await countExisting(redis, copies)) === ids.length;
    },
    'all copies are there when the reader has closed',
    120_000,
  );
});

test('I8: what cannot be an id is refused by name, a closed reader says so', async (t) => {
  const { reader } = await setUp(t);
  for (const bad of ['', 'nul\0', '\ud800', 'x'.repeat(256), 7 as unknown as string]) {
    await t.throwsAsync(reader.get(bad), { instanceOf: InvalidItemError });
    await t.throwsAsync(reader.getMany(['fine', bad]), { instanceOf: InvalidItemError });
    await t.throwsAsync(reader.contains(bad), { instanceOf: InvalidItemError });
  }
  await reader.close();
  await t.throwsAsync(reader.get('a'), { instanceOf: ClosedError });
  await t.throwsAsync(reader.contains('a'), { instanceOf: ClosedError });
  t.throws(() => reader.scanState('new'), { instanceOf: ClosedError });
  t.is(reader.peek('a'), undefined);
});

test('10,000 gets of one moment are 20 MGETs; get and getMany share reads and give input order', async (t) => {
  const { store, reader } = await setUp(t);
  const ids = Array.from({ length: 10_000 }, (_, i) => `many.${i}`);
  await (await store.submitMany(ids.map((id, i) => ({ id, content: i })))).settled();
  const singles = Promise.all(ids.map((id) => reader.get(id)));
  const many = reader.getMany(ids.toReversed());
  t.deepEqual(
    (await singles).map((item) => item?.content),
    ids.map((_, i) => i),
  );
  t.deepEqual(
    (await many).map((item) => item?.content),
    ids.map((_, i) => i).toReversed(),
  );
  t.like(reader.counters, { l2: { requests: 20, hits: 10_000, misses: 0 }, l3: { requests: 0 } });
});
