import test, { type ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { FeedTail } from '../../src/redis/feed.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf } from '../helpers/operations.ts';
import { startProxy } from '../helpers/proxy.ts';
import { RowReconciler } from '../../src/read/queries.ts';
import { NO_OWN_WRITES } from '../../src/read/own-writes.ts';
import { readRows } from '../../src/postgres/read-items.ts';
import { openReadSide, type ReadSide } from '../helpers/read-side.ts';
import { writerOf } from '../helpers/writer.ts';

/** A deployment without workers: `write` is one batch of one write, settled when it resolves. */
async function setUp(t: ExecutionContext, options: Options = {}) {
  // Absence through SQL: these tests are not about the filter.
  const deployment = await createDeployment({ ...ONE_LANE, filterMaxBytes: 0, ...options });
  const proxy = await startProxy(deployment.options.redisUrl);
  const side = await openReadSide(deployment, proxy.url);
  const writer = writerOf(deployment);
  t.teardown(async () => {
    for (const tier of [side.l2, side.l3]) tier.gate.open();
    await side.close();
    await proxy.close();
    await deployment.close();
  });
  return {
    deployment,
    proxy,
    side,
    put: (id: string, stamp: number, body = `"v${stamp}"`) =>
      writer.write([chunkOf([{ id, stamp, kind: 'json', body }])]),
    setState: (id: string, stamp: number, state: string) =>
      writer.write([chunkOf([{ id, stamp, kind: 'state', state }])]),
    remove: (id: string, stamp: number) => writer.write([chunkOf([{ id, stamp, kind: 'delete' }])]),
  };
}

/** The reader's tail has delivered all that the feed holds. */
async function delivered({ keys, redis }: Deployment, { tail }: ReadSide): Promise<void> {
  const entries = Number(await redis.hget(keys.clock, 'entries'));
  await eventually(() => tail.live && tail.position.number >= entries, 'the feed is delivered');
}

test('I6: a settled write, state or delete takes the older value out of L1', async (t) => {
  const { deployment, side, put, setState, remove } = await setUp(t);
  await put('a', 10);
  t.like(await side.reads.get('a'), { content: 'v10', version: 10 });
  await put('a', 20);
  await delivered(deployment, side);
  t.is(side.reads.peek('a'), undefined);
  t.like(await side.reads.get('a'), { content: 'v20', version: 20 });
  await setState('a', 15, 'open');
  await delivered(deployment, side);
  t.is(side.reads.peek('a'), undefined, 'the version shown stays 20: both stamps count');
  t.like(await side.reads.get('a'), { content: 'v20', state: 'open', version: 20 });
  await put('a', 12);
  await delivered(deployment, side);
  t.like(side.reads.peek('a'), { content: 'v20' }, 'an older write changes nothing and costs no read');
  await remove('a', 30);
  await delivered(deployment, side);
  t.is(await side.reads.get('a'), undefined);
});

test('I6: known absence ends with the write that ends it', async (t) => {
  const { deployment, side, put, remove } = await setUp(t);
  t.is(await side.reads.get('a'), undefined);
  const asked = side.l3.counters.requests;
  t.is(await side.reads.get('a'), undefined);
  t.deepEqual(await side.reads.lookup('a'), { found: false, tier: 'none' });
  t.is(side.l3.counters.requests, asked, 'absence is kept in L1');
  await put('a', 10);
  await delivered(deployment, side);
  t.like(await side.reads.get('a'), { content: 'v10' });
  await remove('a', 20);
  await delivered(deployment, side);
  t.is(await side.reads.get('a'), undefined);
  t.is(side.l3.counters.requests, asked, 'the tombstone in L2 answers');
});

for (const tier of ['l2', 'l3'] as const) {
  test(`I6: what was read from ${tier} before a change and comes after it is neither kept nor given out`, async (t) => {
    const { deployment, side, put } = await setUp(t);
    await put('a', 10);
    if (tier === 'l3') await deployment.redis.del(deployment.keys.item('a'));
    const arrived = side[tier].gate.shut();
    const reading = side.reads.get('a');
    await arrived;
    await put('a', 20);
    await delivered(deployment, side);
    const joined = side.reads.get('a');
    side[tier].gate.open();
    t.like(await joined, { content: 'v20' }, 'who asked after the change');
    t.like(await reading, { content: 'v20' }, 'who asked before it');
    t.like(side.reads.peek('a'), { content: 'v20' });
    t.is((await deployment.redis.get(deployment.keys.item('a')))?.endsWith('"v20"'), true);
  });
}

test('I6: L2 answers in parts: each is given out as it comes, and read again when it changed before the last came', async (t) => {
  // One id a request.
  const { deployment, side, put } = await setUp(t, { readChunkItems: 1 });
  for (const id of ['a', 'b', 'c']) await put(id, 10);
  const arrived = side.l2.gate.shut('b');
  const reading = side.reads.getMany(['a', 'b', 'c']);
  await arrived;
  t.like(
    await side.reads.get('a'),
    { content: 'v10' },
    'who asks for one of them does not wait for the others',
  );
  t.like(await side.reads.get('c'), { content: 'v10' }, 'nor for those before it');
  t.is(side.reads.peek('b'), undefined);
  for (const id of ['a', 'b']) await put(id, 20);
  await delivered(deployment, side);
  t.like(await side.reads.get('a'), { content: 'v20' }, 'given out by another call meanwhile');
  side.l2.gate.open();
  t.deepEqual(
    (await reading).map((item) => item?.content),
    ['v20', 'v20', 'v10'],
  );
  t.like(side.reads.peek('b'), { content: 'v20' });
});

test('I6: absence read before a write and told after it is not kept', async (t) => {
  const { deployment, side, put } = await setUp(t);
  const arrived = side.l3.gate.shut();
  const reading = side.reads.get('a');
  await arrived;
  await put('a', 10);
  await delivered(deployment, side);
  side.l3.gate.open();
  t.like(await reading, { content: 'v10' });
  t.like(side.reads.peek('a'), { content: 'v10' });
});

for (const from of ['L1', 'L2'] as const) {
  test(`I6: what getMany had from ${from} is read again when it changed before the last of its ids came`, async (t) => {
    const { deployment, side, put } = await setUp(t);
    for (const id of ['a', 'b']) await put(id, 10);
    if (from === 'L1') await side.reads.get('a');
    await deployment.redis.del(deployment.keys.item('b'));
    const arrived = side.l3.gate.shut();
    const reading = side.reads.getMany(['a', 'b']);
    await arrived;
    await put('a', 20);
    await delivered(deployment, side);
    t.like(await side.reads.get('a'), { content: 'v20' }, 'given out by another call meanwhile');
    side.l3.gate.open();
    t.deepEqual(
      (await reading).map((item) => item?.content),
      ['v20', 'v10'],
    );
  });
}

test('I6: rows of a query are compared again when others of its page had to be read', async (t) => {
  const { deployment, side, put } = await setUp(t);
  const reconciler = new RowReconciler(side.l1, side.floors, NO_OWN_WRITES, (ids) => side.reads.getMany(ids));
  for (const id of ['a', 'b']) await put(id, 10);
  const rows = await readRows(deployment.pool, ['a', 'b']);
  t.like(await side.reads.get('b'), { content: 'v10' });
  await put('b', 20);
  await delivered(deployment, side);
  await deployment.redis.del(deployment.keys.item('b'));
  const arrived = side.l3.gate.shut();
  const reconciling = reconciler.reconcile(rows);
  await arrived;
  await put('a', 30);
  t.like(await side.reads.get('a'), { content: 'v30' }, 'given out by another call meanwhile');
  side.l3.gate.open();
  t.deepEqual(
    (await reconciling).map((item) => item?.content),
    ['v30', 'v20'],
  );
});

test('I6: rows and answers of a reading that began earlier are read again when L1 had no room for the newer one', async (t) => {
  const { deployment, side, put } = await setUp(t, { l1MaxBytes: 0 });
  const reconciler = new RowReconciler(side.l1, side.floors, NO_OWN_WRITES, (ids) => side.reads.getMany(ids));
  for (const id of ['a', 'b']) await put(id, 10);
  const endReading = reconciler.beginReading();
  const rows = await readRows(deployment.pool, ['a']);
  await deployment.items.drop(['b']);
  const arrived = side.l3.gate.shut();
  const many = side.reads.getMany(['a', 'b']);
  await arrived;
  await put('a', 20);
  await delivered(deployment, side);
  t.like(await side.reads.get('a'), { content: 'v20' }, 'given out by another call meanwhile');
  // Announced after it was given out, so it counts as settled.
  await put('a', 20);
  await delivered(deployment, side);
  side.l3.gate.open();
  t.deepEqual(
    (await many).map((item) => item?.content),
    ['v20', 'v10'],
  );
  t.deepEqual(
    (await reconciler.reconcile(rows)).map((item) => item?.content),
    ['v20'],
  );
  endReading();
  await eventually(() => side.floors.size === 0, 'nothing is kept afterwards');
});

test('I6: an id that changes during every round of its read is not given out older than the last change', async (t) => {
  const { deployment, side, put } = await setUp(t);
  const { redis, keys } = deployment;
  await put('a', 10);
  await redis.del(keys.item('a'));
  let arrived = side.l3.gate.shut();
  const reading = side.reads.get('a');
  for (const stamp of [20, 30, 40, 50]) {
    await Promise.race([arrived, reading]);
    await put('a', stamp);
    await redis.del(keys.item('a'));
    await delivered(deployment, side);
    side.l3.gate.open();
    arrived = side.l3.gate.shut();
  }
  side.l3.gate.open();
  t.like(await reading, { content: 'v50' });
});

test('I6: while the feed is out of sight L1 is bypassed; on return every missed change is replayed', async (t) => {
  const { deployment, side, proxy, put } = await setUp(t);
  for (const id of ['a', 'b']) await put(id, 10);
  for (const id of ['a', 'b']) await side.reads.get(id);
  await proxy.refuse();
  await eventually(() => !side.tail.live, 'the tail is down');
  t.is(side.reads.peek('b'), undefined);
  await put('a', 20);
  await proxy.open();
  await delivered(deployment, side);
  t.is(side.reads.peek('a'), undefined, 'changed meanwhile');
  t.like(side.reads.peek('b'), { content: 'v10' }, 'not changed: still good');
  t.like(await side.reads.get('a'), { content: 'v20' });
});

test('I6: what was read while the feed was out of sight is good afterwards, unless it changed', async (t) => {
  const { deployment, side, proxy, put } = await setUp(t);
  for (const id of ['a', 'b']) await put(id, 10);
  await proxy.refuse();
  await eventually(() => !side.tail.live, 'the tail is down');
  for (const id of ['a', 'b']) t.like(await side.reads.get(id), { content: 'v10' });
  await put('a', 20);
  await proxy.open();
  await delivered(deployment, side);
  t.is(side.reads.peek('a'), undefined);
  t.like(side.reads.peek('b'), { content: 'v10' });
});

test('I6: a half-open connection is found out, and L1 bypassed', async (t) => {
  const { deployment, side, proxy, put } = await setUp(t);
  await put('a', 10);
  await side.reads.get('a');
  proxy.freeze();
  await put('a', 20);
  await eventually(() => side.reads.peek('a') === undefined, 'the watchdog ends the connection');
  await proxy.open();
  await delivered(deployment, side);
  t.like(await side.reads.get('a'), { content: 'v20' });
});

const LOSSES = {
  'the stream was trimmed': ({ redis, keys }: Deployment) => redis.xtrim(keys.feed, 'MAXLEN', 0),
  'the stream was trimmed and has grown again': async ({ redis, keys }: Deployment, put: Put) => {
    await put('c', 30);
    await redis.xtrim(keys.feed, 'MAXLEN', 1);
  },
  'Redis lost all it had': (deployment: Deployment) => deployment.emptyRedis(),
  'Redis lost all it had and is in use again': async (deployment: Deployment, put: Put) => {
    await deployment.emptyRedis();
    for (const stamp of [31, 32, 33, 34]) await put('c', stamp);
  },
  'Redis lost its newest entries': async ({ redis, keys }: Deployment) => {
    const entries = await redis.xrevrange(keys.feed, '+', '-', 'COUNT', 2);
    await redis.xdel(keys.feed, ...entries.map(([id]) => id));
    await redis.hincrby(keys.clock, 'entries', -2);
  },
};
type Put = (id: string, stamp: number) => Promise<unknown>;

for (const [loss, lose] of Object.entries(LOSSES)) {
  // A connected tail is handed each entry as it comes: none can be trimmed before.
  for (const connected of loss.startsWith('the stream') ? [false] : [true, false]) {
    test(`I6: L1 is dropped when ${loss}, ${connected ? 'while connected' : 'while the connection was cut'}`, async (t) => {
      const { deployment, side, proxy, put } = await setUp(t);
      for (const id of ['a', 'b']) await put(id, 10);
      for (const id of ['a', 'b']) await side.reads.get(id);
      await delivered(deployment, side);
      if (connected) proxy.freeze();
      else await proxy.refuse();
      await put('a', 20);
      await lose(deployment, put);
      await proxy.open();
      await eventually(() => side.coherence.flushes > 0 && side.tail.live, 'the loss is noticed');
      t.is(side.reads.peek('a'), undefined);
      t.is(side.reads.peek('b'), undefined);
      t.like(await side.reads.get('a'), { content: 'v20' });
      await put('a', 40);
      await eventually(
        async () => (await side.reads.get('a'))?.content === 'v40',
        'changes are followed again',
      );
    });
  }
}

test('I6: a Redis that came back older than it was does not take a reader back', async (t) => {
  const { deployment, side, put } = await setUp(t);
  const { redis, keys } = deployment;
  await put('a', 10);
  const older = (await redis.get(keys.item('a'))) as string;
  await put('a', 20);
  await delivered(deployment, side);
  t.like(await side.reads.get('a'), { content: 'v20' });
  await redis.set(keys.item('a'), older);
  side.coherence.onGap();
  t.like(await side.reads.get('a'), { content: 'v20' });
  await eventually(async () => (await redis.get(keys.item('a'))) !== older, 'L2 is repaired');
});

test('I6: nor does one that came back with the content of now and the state of before', async (t) => {
  const { deployment, side, put, setState } = await setUp(t);
  const { redis, keys } = deployment;
  await put('a', 20);
  const older = (await redis.get(keys.item('a'))) as string;
  await setState('a', 15, 'open');
  await delivered(deployment, side);
  t.like(await side.reads.get('a'), { content: 'v20', state: 'open' });
  await redis.set(keys.item('a'), older);
  side.coherence.onGap();
  t.like(await side.reads.get('a'), { content: 'v20', state: 'open' });
});

test('I6: a feed entry that cannot be read drops L1 instead of being passed over', async (t) => {
  const { deployment, side, put } = await setUp(t);
  const { redis, keys } = deployment;
  await put('a', 10);
  await side.reads.get('a');
  const number = await redis.hincrby(keys.clock, 'entries', 1);
  await redis.xadd(keys.feed, '*', 'n', number, 'jobs', '[]', 'changes', 'not JSON');
  await delivered(deployment, side);
  t.is(side.reads.peek('a'), undefined);
  t.true(side.tail.live);
  await put('a', 20);
  await eventually(
    async () => (await side.reads.get('a'))?.content === 'v20',
    'the next entries are followed',
  );
});

test('I6: the cursor is taken before L1 is served', async (t) => {
  const { deployment, put } = await setUp(t);
  const tail = new FeedTail(deployment.config.redisUrl, deployment.keys, deployment.log);
  t.teardown(() => tail.close());
  const seen: string[] = [];
  tail.listen({ onLive: () => seen.push('live'), onEntry: ({ changes }) => seen.push(changes) });
  await tail.start(2000);
  t.deepEqual(seen, ['live']);
  await put('a', 10);
  await eventually(() => seen.length === 2, 'the first change after the start');
});
