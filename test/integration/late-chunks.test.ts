import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { Queue } from 'bullmq';
import type { Chunk } from '../../src/batch/fold.ts';
import type { Options } from '../../src/config.ts';
import { JobRefusedError, QueueUnavailableError } from '../../src/errors.ts';
import { RANGES_QUEUE, WRITES_QUEUE } from '../../src/keys.ts';
import { replayLetter } from '../../src/maintenance/replay.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { listDeadLetters } from '../../src/postgres/dead-letters.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import {
  orphanAgeUs,
  sweepOrphans,
  sweptAmong,
  takeStamps,
  withdrawChunk,
} from '../../src/redis/chunk-notes.ts';
import { chunkStates } from '../../src/redis/in-flight.ts';
import { CHUNK_JOB, RANGE_JOB, WRITE_JOB_OPTIONS } from '../../src/schema/job.ts';
import { openStore } from '../../src/store/open-store.ts';
import { type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { startProxy } from '../helpers/proxy.ts';
import { createSetting } from '../helpers/setting.ts';

/** Refuses a submit early, so that its notes are soon swept. */
const EARLY: Options = { enqueueTimeoutMs: 1500 };

type Setting = Awaited<ReturnType<typeof setUp>>;

async function setUp(t: ExecutionContext, options: Options = EARLY) {
  const setting = await createSetting(t, { ...ONE_LANE, ...options });
  const { deployment, use } = setting;
  const { redis, keys } = deployment;
  const queueOf = (name: string) => use(new Queue(name, { connection: redis, prefix: keys.queuePrefix }));
  const [writes, ranges] = [queueOf(WRITES_QUEUE), queueOf(RANGES_QUEUE)];
  return { ...setting, writes, ranges, store: use(await openStore(deployment.options)) };
}

/** A chunk that was stamped, and whose producer has not sent its job yet. */
async function stamped(
  { redis, keys }: Deployment,
  ids: readonly string[],
): Promise<Chunk & { readonly epoch: string }> {
  const chunkId = randomUUID();
  const { first, epoch } = await takeStamps(redis, keys, chunkId, ids);
  const { job } = chunkOf(
    ids.map((id, i): TestOp => ({ id, stamp: first + i, kind: 'json', body: '"late"', state: 'late' })),
  );
  return { chunkId, job, epoch };
}

function arrives(writes: Queue, { chunkId, job }: Chunk): Promise<unknown> {
  return writes.add(CHUNK_JOB, job, { ...WRITE_JOB_OPTIONS, jobId: chunkId });
}

const letters = ({ pool }: Deployment) => listDeadLetters(pool, 100);
const isGone = async ({ redis, keys }: Deployment, queue: string, jobId: string) =>
  (await redis.exists(keys.job(queue, jobId))) === 0;

async function rowOf({ pool }: Deployment, id: string): Promise<unknown> {
  const { rows } = await pool.query('SELECT content, state FROM items WHERE id = $1 AND NOT deleted', [id]);
  return rows[0];
}

test('I4: a chunk whose job comes after its note was swept is written nowhere, below a range delete that has settled', async (t) => {
  const { deployment, store, writes, drain } = await setUp(t);
  const { redis, keys, shards, config } = deployment;
  const late = await stamped(deployment, ['late.a', 'late.b']);
  t.deepEqual(await sweepOrphans(redis, keys, 0), { chunks: 1, ids: 2 });
  await drain();
  t.is((await (await store.deletePrefix('late.')).settled()).deleted, 0);

  await arrives(writes, late);
  const good = await store.submit({ id: 'good', content: 1 });
  t.is((await good.settled()).status, 'applied', 'the others of the batch are written');
  await eventually(() => isGone(deployment, WRITES_QUEUE, late.chunkId), 'its job is done');

  t.like(await letters(deployment), [
    { itemId: 'late.b', stamp: late.job.first + 1, chunkId: late.chunkId, sqlState: undefined },
    { itemId: 'late.a', stamp: late.job.first, chunkId: late.chunkId },
  ]);
  for (const id of ['late.a', 'late.b']) {
    t.is(await store.get(id), undefined);
    t.false(await store.contains(id));
    t.is(await rowOf(deployment, id), undefined);
    t.is(await redis.exists(keys.item(id)), 0);
  }
  t.is(await redis.zcard(keys.inflight), 0);
  t.is(await redis.hlen(keys.pending), 0);
  const { states } = await chunkStates(redis, keys, late.epoch, [late.chunkId]);
  t.like(
    states,
    [{ state: 'gone', outcome: { refused: 'arrived after its submit had been refused' } }],
    'whoever asks is told',
  );

  const [letter] = await letters(deployment);
  const parts = { shards, redis, writes: [writes], lanes: deployment.lanes, config };
  t.like(await replayLetter(parts, letter?.seq ?? 0), { status: 'superseded' }, 'the range delete covers it');
  t.is(await rowOf(deployment, 'late.b'), undefined);
});

test('I3: a late chunk is kept as it was, and its replay stores it', async (t) => {
  const { deployment, store, writes, drain } = await setUp(t);
  const { redis, keys, shards, config } = deployment;
  const late = await stamped(deployment, ['kept']);
  await sweepOrphans(redis, keys, 0);
  await drain();
  await arrives(writes, late);
  await eventually(() => isGone(deployment, WRITES_QUEUE, late.chunkId), 'its job is done');
  t.is(await store.get('kept'), undefined);

  const [letter] = await letters(deployment);
  const parts = { shards, redis, writes: [writes], lanes: deployment.lanes, config };
  t.is((await replayLetter(parts, letter?.seq ?? 0)).status, 'replayed');
  t.like(await store.get('kept'), { content: 'late', state: 'late', version: late.job.first });
  t.deepEqual(await letters(deployment), []);
});

test('I3: a replay whose note was swept before its job came keeps its letter', async (t) => {
  const { deployment, writes, drain } = await setUp(t);
  const { redis, keys, shards, config } = deployment;
  const late = await stamped(deployment, ['kept']);
  await sweepOrphans(redis, keys, 0);
  await drain();
  await arrives(writes, late);
  await eventually(async () => (await letters(deployment)).length === 1, 'it is kept');
  const [letter] = await letters(deployment);
  const slow = {
    async add(...args: Parameters<Queue['add']>) {
      await sweepOrphans(redis, keys, 0);
      const job = await writes.add(...args);
      await eventually(() => isGone(deployment, WRITES_QUEUE, job.id ?? ''), 'its job is done');
      return job;
    },
  };
  const parts = { shards, redis, writes: [slow], lanes: deployment.lanes, config };
  t.is((await replayLetter(parts, letter?.seq ?? 0)).status, 'dead');
  t.is((await letters(deployment)).length, 1);
  t.is(await rowOf(deployment, 'kept'), undefined);
});

test('I2: a chunk that runs again after it has settled stays settled', async (t) => {
  const { deployment, store, writes, drain } = await setUp(t);
  const { redis, keys } = deployment;
  await drain();
  const chunk = await stamped(deployment, ['twice']);
  await arrives(writes, chunk);
  await eventually(() => isGone(deployment, WRITES_QUEUE, chunk.chunkId), 'it has settled');
  t.deepEqual(await sweepOrphans(redis, keys, 0), { chunks: 0, ids: 0 });
  await arrives(writes, chunk);
  await eventually(() => isGone(deployment, WRITES_QUEUE, chunk.chunkId), 'it has run again');
  t.deepEqual(await letters(deployment), []);
  t.like(await store.get('twice'), { content: 'late', version: chunk.job.first });
});

test('I4: a range delete that comes after its note was swept deletes nothing', async (t) => {
  const { deployment, store, ranges, drain } = await setUp(t);
  const { redis, keys } = deployment;
  await drain();
  await (await store.submit({ id: 'k.1', content: 1 })).settled();
  const rangeId = randomUUID();
  const { first } = await takeStamps(redis, keys, rangeId, { kind: 'prefix', value: 'k.' });
  t.is((await sweepOrphans(redis, keys, 0)).chunks, 1);
  t.is(await redis.zcard(keys.ranges), 0);
  t.is(await redis.hlen(keys.covers), 0);
  const job = { v: 1, kind: 'prefix', value: 'k.', stamp: first };
  await ranges.add(RANGE_JOB, job, { ...WRITE_JOB_OPTIONS, jobId: rangeId });
  await eventually(() => isGone(deployment, RANGES_QUEUE, rangeId), 'its job is done');
  t.like(await letters(deployment), [{ itemId: `job:${rangeId}` }]);
  t.is((await store.get('k.1'))?.content, 1);
  t.is((await (await store.deletePrefix('k.')).settled()).deleted, 1, 'the next one runs');
});

test('what became of a chunk that was not seen to arrive', async (t) => {
  const { deployment, writes, drain } = await setUp(t);
  const { redis, keys } = deployment;
  const doubt = (chunk: Chunk & { epoch: string }) =>
    withdrawChunk(redis, keys, {
      queue: WRITES_QUEUE,
      chunkId: chunk.chunkId,
      epoch: chunk.epoch,
      ids: chunk.job.ids,
    });
  const mine = await stamped(deployment, ['a', 'b']);
  const other = await stamped(deployment, ['b']);
  t.is(await doubt(mine), 'withdrawn');
  t.is(await doubt(mine), 'withdrawn', 'asked again');
  t.deepEqual(await redis.hkeys(keys.pending), ['b'], 'a newer write of an id stays noted');
  t.is(await redis.zscore(keys.inflight, mine.chunkId), null);

  await arrives(writes, other);
  t.is(await doubt(other), 'queued');
  t.is(await redis.hexists(keys.pending, 'b'), 1);
  await drain();
  await eventually(() => isGone(deployment, WRITES_QUEUE, other.chunkId), 'it has settled');
  t.is(await doubt(other), 'settled');
  t.deepEqual([...(await sweptAmong(redis, keys, [mine.chunkId, other.chunkId]))], [mine.chunkId]);

  const large = await stamped(
    deployment,
    Array.from({ length: 2500 }, (_, i) => `large.${i}`),
  );
  t.is(await doubt(large), 'withdrawn');
  t.is(await redis.hlen(keys.pending), 0);

  await redis.hset(keys.clock, 'epoch', 'another');
  t.is(await doubt(other), 'lost');
});

test('I1: a chunk that is stamped twice keeps its stamps', async (t) => {
  const { deployment } = await setUp(t);
  const { redis, keys } = deployment;
  const chunkId = randomUUID();
  const { first } = await takeStamps(redis, keys, chunkId, ['a', 'b']);
  const between = await takeStamps(redis, keys, randomUUID(), ['b']);
  t.is((await takeStamps(redis, keys, chunkId, ['a', 'b'])).first, first);
  t.is(Number(await redis.zscore(keys.inflight, chunkId)), first);
  t.deepEqual((await redis.hmget(keys.pending, 'a', 'b')).map(Number), [first, between.first]);
});

test('notes stay as long as any producer may still queue their chunks; swept chunks are remembered for a day', async (t) => {
  const { deployment } = await setUp(t);
  const { redis, keys, options } = deployment;
  const before = await orphanAgeUs(redis, keys, 1500);
  const patient = await openProducer({ ...options, enqueueTimeoutMs: 20_000 });
  const hasty = await openProducer({ ...options, enqueueTimeoutMs: 1000 });
  t.is(await orphanAgeUs(redis, keys, 1500), before + 18_500_000);
  await Promise.all([patient.close(), hasty.close()]);

  const dayUs = 24 * 3600 * 1_000_000;
  await redis.zadd(
    keys.swept,
    Date.now() * 1000 - dayUs - 1_000_000,
    'old',
    Date.now() * 1000 - dayUs / 2,
    'young',
  );
  await sweepOrphans(redis, keys, 0);
  t.deepEqual([...(await sweptAmong(redis, keys, ['old', 'young']))], ['young']);
  for (let i = 0; i < 100_100; i += 10_010) {
    const many = Array.from({ length: 10_010 }, (_, j) => [Date.now() * 1000, `c.${i + j}`]);
    await redis.zadd(keys.swept, ...many.flat());
  }
  await sweepOrphans(redis, keys, 0);
  t.is(await redis.zcard(keys.swept), 100_000);
});

test('I8: a submit that Redis refused by name is not accepted, and leaves nothing that a range delete waits for', async (t) => {
  const { deployment, store, drain } = await setUp(t);
  const { redis, keys } = deployment;
  await drain();
  // BullMQ reads this hash before it writes anything.
  const meta = `${keys.queuePrefix}:${WRITES_QUEUE}:meta`;
  await redis.rename(meta, `${meta}-away`);
  await redis.set(meta, 'no hash');
  const error = await t.throwsAsync(store.submit({ id: 'k.1', content: 1 }), {
    instanceOf: QueueUnavailableError,
  });
  t.is(error?.accepted, false);
  t.is(await redis.zcard(keys.inflight), 0);
  t.is(await redis.hlen(keys.pending), 0);
  await redis.rename(`${meta}-away`, meta);
  // No maintenance runs here.
  t.is((await (await store.deletePrefix('k.')).settled()).deleted, 0);
});

test('I8: whether an add that ended in an error half way was accepted is unknown', async (t) => {
  const { deployment, store } = await setUp(t);
  const { redis, keys } = deployment;
  // BullMQ stores the job first, and then finds no list to put it into.
  await redis.set(`${keys.queuePrefix}:${WRITES_QUEUE}:wait`, 'no list');
  const error = await t.throwsAsync(store.submit({ id: 'k.1', content: 1 }), {
    instanceOf: QueueUnavailableError,
    message: /unknown/,
  });
  t.is(error?.accepted, 'unknown');
});

test('I1: an add that a cut connection left on the wire comes after the chunk has settled, and changes nothing', async (t) => {
  const { deployment, store, use, drain } = await setUp(t, {});
  await drain();
  const proxy = use(await startProxy(deployment.options.redisUrl));
  const producer = use(await openProducer({ ...deployment.options, redisUrl: proxy.url }));
  const held = proxy.holdFrom('content-of-it');
  const submitting = producer.submit({ id: 'k.1', content: 'content-of-it' });
  await held.reached;
  proxy.cut();
  const ticket = await submitting;
  t.is((await ticket.settled()).status, 'applied');
  t.is((await (await store.delete('k.1')).settled()).status, 'applied');
  held.release();
  await (await store.submit({ id: 'k.2', content: 1 })).settled();
  await eventually(
    async () => (await deployment.redis.zcard(deployment.keys.inflight)) === 0,
    'all has settled',
  );
  t.is(await rowOf(deployment, 'k.1'), undefined);
  t.deepEqual(await letters(deployment), []);
});

interface Submitting {
  /** Ends before its add has arrived. */
  end(): Promise<void>;
}
const ENDS: readonly (readonly [
  how: string,
  (t: ExecutionContext, setting: Setting, options: Options, content: string) => Promise<Submitting>,
])[] = [
  [
    'whose connection was cut',
    async (t, { use }, options, content) => {
      const producer = use(await openProducer(options));
      const submitting = t.throwsAsync(producer.submit({ id: 'k.1', content }), {
        instanceOf: QueueUnavailableError,
        message: /unknown/,
      });
      return {
        async end() {
          t.is((await submitting)?.accepted, 'unknown');
          await producer.flush();
        },
      };
    },
  ],
  [
    'that was killed',
    async (t, { deployment }, options, content) => {
      const file = fileURLToPath(new URL('../helpers/submitting.js', import.meta.url));
      const child: ChildProcess = fork(file, ['k.1', content], {
        env: { ...deployment.env, REDIS_URL: options.redisUrl, TIERLINE_ENQUEUE_TIMEOUT_MS: '1500' },
      });
      return {
        async end() {
          const ended = once(child, 'exit');
          child.kill('SIGKILL');
          t.deepEqual(await ended, [null, 'SIGKILL']);
        },
      };
    },
  ],
];

for (const [how, start] of ENDS) {
  test(`I4: the add of a producer ${how} holds up range deletes for a few sweeps, and comes too late then`, async (t) => {
    const setting = await setUp(t);
    const { deployment, store, use, drain } = setting;
    await drain();
    use(await startMaintenance(deployment.options));
    const proxy = use(await startProxy(deployment.options.redisUrl));
    const held = proxy.holdFrom('content-of-it');
    const producer = await start(t, setting, { ...deployment.options, redisUrl: proxy.url }, 'content-of-it');
    await held.reached;
    t.is(await deployment.redis.zcard(deployment.keys.inflight), 1, 'it is stamped');
    await proxy.refuse();
    await producer.end();

    const range = await store.deletePrefix('k.');
    t.is((await range.settled({ timeoutMs: 30_000 })).deleted, 0);
    held.release();
    await eventually(async () => (await letters(deployment)).length === 1, 'the late chunk is kept');
    t.like(await letters(deployment), [{ itemId: 'k.1' }]);
    t.is(await store.get('k.1'), undefined);
    t.is(await rowOf(deployment, 'k.1'), undefined);
    await eventually(
      async () => (await deployment.redis.zcard(deployment.keys.inflight)) === 0,
      'nothing waits',
    );
  });
}

test('I8: a range delete that came too late is told to whoever waits for it', async (t) => {
  const { deployment, store, drain } = await setUp(t);
  const { redis, keys } = deployment;
  const range = await store.deletePrefix('k.');
  // As if the sweep had come between its stamp and its job, which was queued all the same.
  await redis.zadd(keys.swept, Date.now() * 1000, (await redis.zrange(keys.ranges, '0', '0'))[0] ?? '');
  const put = await store.submit({ id: 'k.1', content: 1 });
  const [chunkId] = (await redis.zrange(keys.inflight, '-1', '-1')) as [string];
  await redis.zadd(keys.swept, Date.now() * 1000, chunkId);
  await drain();
  await t.throwsAsync(range.settled(), { instanceOf: JobRefusedError });
  t.like(await put.settled(), { status: 'dead', reason: 'arrived after its submit had been refused' });
});
