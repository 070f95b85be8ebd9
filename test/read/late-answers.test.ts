import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { foldOps, opsOf } from '../../src/batch/fold.ts';
import { Digester, hashContent } from '../../src/merkle/digest.ts';
import { applyRows } from '../../src/postgres/apply-batch.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { takeStamps } from '../../src/redis/chunk-notes.ts';
import { openStore } from '../../src/store/open-store.ts';
import { type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf } from '../helpers/operations.ts';
import { startDatabaseProxy, startProxy } from '../helpers/proxy.ts';
import { openReadSide } from '../helpers/read-side.ts';
import { createSetting } from '../helpers/setting.ts';
import { lanesWriterOf } from '../helpers/writer.ts';

// What a slow read found at its beginning, and other reads have given out in a newer version meanwhile.

/** Redis is asked for the horizon once a second. */
const HORIZON_KNOWN_MS = 1300;
/** L1 with room for `big` or a few small items. */
const SMALL_L1 = { ...ONE_LANE, l1MaxBytes: 2500 };
const BIG = 'x'.repeat(2100);

test('I6: getMany gives out nothing older than a get meanwhile, also when that version has settled and left L1', async (t) => {
  const { deployment, use, drain } = await createSetting(t, SMALL_L1);
  await drain();
  const proxy = use(await startDatabaseProxy(deployment));
  const producer = use(await openProducer(deployment.options));
  const put = async (id: string, content: string) => (await producer.submit({ id, content })).settled();
  const reader = use(await openReader({ ...deployment.options, ...proxy.options, l3TimeoutMs: 30_000 }));
  await put('a', 'old');
  await put('big', BIG);
  await put('slow', 'x');
  await deployment.redis.del(deployment.keys.item('slow'));
  await pause(HORIZON_KNOWN_MS);
  for (let i = 0; i < 5; i++) await reader.getMany([`none.${i}`]);
  t.like(await reader.get('a'), { content: 'old' });

  const held = proxy.holdFrom('slow');
  const many = reader.getMany(['a', 'slow']);
  await held.reached;
  await put('a', 'new');
  await eventually(async () => (await reader.get('a'))?.content === 'new', 'the new one is given out');
  await pause(HORIZON_KNOWN_MS);
  await reader.get('big');
  t.is(reader.peek('a'), undefined, 'evicted');
  held.release();
  t.is((await many)[0]?.content, 'new');
});

test('I6: getMany does not give out what L1 had before the feed came, after another read gave out the newer version', async (t) => {
  const { deployment, use } = await createSetting(t, SMALL_L1);
  const writer = lanesWriterOf(deployment);
  let stamp = 1000;
  const put = async (id: string, content: string) => {
    stamp += 10;
    await deployment.redis.hset(deployment.keys.clock, 'last', stamp);
    await writer.write([chunkOf([{ id, stamp, kind: 'json', body: JSON.stringify(content) }])]);
  };
  const proxy = use(await startProxy(deployment.options.redisUrl));
  const side = use(await openReadSide(deployment, proxy.url));
  await put('big', BIG);
  await put('slow', 'x');
  await put('a', 'old');
  t.like(await side.reads.get('a'), { content: 'old' });
  await pause(HORIZON_KNOWN_MS);
  await put('tick', 'x');
  await pause(100);
  // Only the feed's connection goes through the proxy.
  proxy.freeze();
  await put('a', 'new');
  t.like(await side.reads.get('a'), { content: 'old' }, 'one delivery behind');
  await pause(HORIZON_KNOWN_MS);
  for (let i = 0; i < 5; i++) await side.reads.getMany([`none.${i}`]);
  const shut = side.l2.gate.shut('slow');
  const many = side.reads.getMany(['a', 'slow']);
  await shut;
  await proxy.open();
  await eventually(async () => (await side.reads.get('a'))?.content === 'new', 'the feed is delivered');
  await side.reads.get('big');
  t.is(side.reads.peek('a'), undefined, 'evicted');
  side.l2.gate.open();
  t.is((await many)[0]?.content, 'new');
});

/** Holds up the first verified read, which learns the key of the digests. */
async function holdKey(t: ExecutionContext, { pool }: Pick<Deployment, 'pool'>) {
  const client = await pool.connect();
  t.teardown(() => client.release(true));
  await client.query('BEGIN');
  await client.query('LOCK TABLE merkle_key IN ACCESS EXCLUSIVE MODE');
  return async () => void (await client.query('COMMIT'));
}

test('I6: a verified read gives out nothing older than a get meanwhile', async (t) => {
  const { deployment, use, drain } = await createSetting(t, ONE_LANE);
  await drain();
  const producer = use(await openProducer(deployment.options));
  const put = async (content: string) => (await producer.submit({ id: 'a', content })).settled();
  const reader = use(await openReader({ ...deployment.options, l3TimeoutMs: 30_000 }));
  await put('old');
  const release = await holdKey(t, deployment);
  const verified = reader.get('a', { verify: true });
  await pause(300);
  await put('new');
  await eventually(async () => (await reader.get('a'))?.content === 'new', 'the new one is given out');
  await release();
  t.is((await verified)?.content, 'new');
});

test('I6 I11: a verified read of a store gives out nothing older than its own write', async (t) => {
  const { deployment, use, drain } = await createSetting(t, ONE_LANE);
  const worker = await drain();
  const store = use(await openStore({ ...deployment.options, l3TimeoutMs: 30_000 }));
  await (await store.submit({ id: 'a', content: 'old', state: 's' })).settled();
  await worker.close();
  await deployment.redis.del(deployment.keys.item('a'));
  await pause(200);
  const release = await holdKey(t, deployment);
  const verified = store.get('a', { verify: true });
  await pause(300);
  await store.submit({ id: 'a', content: 'new', state: 's' });
  t.like(await store.get('a'), { content: 'new' });
  await release();
  t.is((await verified)?.content, 'new');
});

test('I7: a store denies no id whose write it told to have settled', async (t) => {
  const { deployment, use, drain } = await createSetting(t, ONE_LANE);
  await drain();
  const store = use(await openStore(deployment.options));
  await eventually(() => store.definitelyMissing('nobody'), 'the filter is loaded');
  for (let i = 0; i < 50; i++) {
    const id = `i.${i}`;
    await (await store.submit({ id, content: i })).settled();
    t.false(store.definitelyMissing(id), id);
  }
});

test('I6 I7: contains knows an item that a query has given out before it settled', async (t) => {
  const { deployment, use } = await createSetting(t, ONE_LANE);
  const { redis, keys } = deployment;
  await lanesWriterOf(deployment).write([chunkOf([{ id: 'a', stamp: 10, kind: 'json', body: '"x"' }])]);
  const reader = use(await openReader(deployment.options));
  await eventually(() => reader.definitelyMissing('b'), 'the filter is loaded');
  // As a batch between its first step and its second: Postgres has it, L2 and the feed do not yet.
  await redis.zadd(keys.inflight, 50, 'a chunk in flight');
  await redis.hset(keys.pending, 'b', 100);
  await deployment.query(
    `INSERT INTO items (id, id_hash, tombstone_week, content, content_hash, content_version, state_version, state, deleted, digest_hi, digest_lo, state_digest_hi, state_digest_lo, batch_id)
     SELECT 'b', id_hash, tombstone_week, content, content_hash, 100, state_version, state, deleted, digest_hi, digest_lo, state_digest_hi, state_digest_lo, batch_id FROM items WHERE id = 'a'`,
  );
  t.like((await reader.getByPrefix('b')).items[0], { id: 'b' });
  t.true(await reader.contains('b'));
});

test('I6: a version that a query gave out is not taken back, although a later write of its id settled first', async (t) => {
  const { deployment, use, drain } = await createSetting(t, ONE_LANE);
  const { pool, redis, keys, config } = deployment;
  const producer = use(await openProducer(deployment.options));
  await drain();
  await (await producer.submit({ id: 'x', content: 'old' })).settled();
  const reader = use(await openReader({ ...deployment.options, l1MaxBytes: 0 }));
  const chunkId = randomUUID();
  const { first } = await takeStamps(redis, keys, chunkId, ['x']);
  await (await producer.setState('x', 's')).settled();
  // The worker of the first chunk has committed, and has not written L2 yet.
  const job = {
    v: 1 as const,
    first,
    ids: ['x'],
    kinds: 'j',
    bodies: ['"new"'],
    hashes: [hashContent('"new"')],
  };
  await applyRows(pool, foldOps(opsOf({ chunkId, job }), new Digester(config.merkleKey)), randomUUID());
  t.is((await reader.getByState('s')).items[0]?.content, 'new');
  await pause(HORIZON_KNOWN_MS);
  t.is((await reader.get('x'))?.content, 'new');
});
