import test, { type ExecutionContext } from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';

async function setUp(t: ExecutionContext) {
  const deployment = await createDeployment();
  const producer = await openProducer(deployment.options);
  const reader = await openReader(deployment.options);
  const closers = [() => producer.close(), () => reader.close()];
  t.teardown(async () => {
    for (const close of closers) await close();
    await deployment.close();
  });
  return {
    deployment,
    producer,
    reader,
    async drain() {
      const drain = await startDrain(deployment.options);
      closers.unshift(() => drain.close());
    },
  };
}

test('status: pending from any process, then synced, with the tiers that have it', async (t) => {
  const { deployment, producer, reader, drain } = await setUp(t);
  t.deepEqual(await reader.status('a'), { status: 'missing' });
  const first = await producer.submit({ id: 'a', content: 1 });
  t.deepEqual(await reader.status('a'), {
    status: 'pending',
    version: first.version,
    inL1: false,
    inL2: false,
    inL3: false,
  });
  await drain();
  await first.settled();
  t.deepEqual(await reader.status('a'), {
    status: 'synced',
    version: first.version,
    inL1: false,
    inL2: true,
    inL3: true,
  });
  await reader.get('a');
  t.like(await reader.status('a'), { status: 'synced', inL1: true });
  await deployment.redis.del(deployment.keys.item('a'));
  t.like(await reader.status('a'), { inL1: true, inL2: false, inL3: true });
  await (await producer.delete('a')).settled();
  t.deepEqual(await reader.status('a'), { status: 'missing' });
});

test('items of one tier only: where they are, and that they exist', async (t) => {
  const { producer, reader, drain } = await setUp(t);
  await drain();
  const cached = await producer.submit({ id: 'cached', content: 'c' }, { tiers: 'cache' });
  const durable = await producer.submit({ id: 'durable', content: 'd' }, { tiers: 'durable' });
  await Promise.all([cached.settled(), durable.settled()]);
  t.like(await reader.status('cached'), { status: 'synced', inL2: true, inL3: false });
  t.like(await reader.status('durable'), { status: 'synced', inL2: false, inL3: true });
  await eventually(() => reader.definitelyMissing('nobody'), 'the filter is loaded');
  for (const id of ['cached', 'durable']) {
    t.true(await reader.contains(id), id);
    t.like(await reader.get(id), { content: id[0] as string });
    t.like(
      await reader.lookup(id),
      { tier: id === 'cached' ? 'l2' : 'l1' },
      'nothing tells when an L2 copy ends: L1 does not keep it',
    );
  }
});

test('I6: what lives in L2 only ends there with its time', async (t) => {
  const { producer, reader, drain } = await setUp(t);
  await drain();
  await (await producer.submit({ id: 'a', content: 1 })).settled();
  t.like(await reader.get('a'), { content: 1 });
  await (await producer.submit({ id: 'a', content: 2 }, { tiers: 'cache', ttlMs: 400 })).settled();
  await eventually(async () => (await reader.get('a'))?.content !== 1, 'the copy takes over');
  await eventually(async () => (await reader.get('a'))?.content === 1, 'and ends');
  await (await producer.submit({ id: 'b', content: 2 }, { tiers: 'cache', ttlMs: 50 })).settled();
  await eventually(async () => (await reader.get('b')) === undefined, 'one that was never durable');
  t.is(await reader.get('b'), undefined);
});

test('contains and isCurrent answer for what stands now', async (t) => {
  const { producer, reader, drain } = await setUp(t);
  await drain();
  t.false(await reader.contains('a'));
  await (await producer.submit({ id: 'a', content: 'x' })).settled();
  t.true(await reader.contains('a'));
  t.true(reader.mightExist('a'));
  const hash = (await reader.get('a'))?.contentHash as string;
  t.regex(hash, /^[\da-f]{64}$/);
  t.true(await reader.isCurrent('a', hash));
  await (await producer.submit({ id: 'a', content: 'y' })).settled();
  await eventually(async () => !(await reader.isCurrent('a', hash)), 'the feed is delivered');
  t.false(await reader.isCurrent('nobody', hash));
  await (await producer.delete('a')).settled();
  t.false(await reader.contains('a'));
});

test('an AbortSignal frees its caller and leaves the read to the others who share it', async (t) => {
  const { reader } = await setUp(t);
  const controller = new AbortController();
  const first = reader.get('a', { signal: controller.signal });
  const second = reader.getMany(['a', 'b']);
  controller.abort(new Error('enough'));
  await t.throwsAsync(first, { message: 'enough' });
  t.deepEqual(await second, [undefined, undefined]);
  await t.throwsAsync(reader.get('a', { signal: controller.signal }), { message: 'enough' });
  t.is(await reader.get('a', { signal: new AbortController().signal }), undefined);
});
