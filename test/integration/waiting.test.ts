import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { Queue } from 'bullmq';
import { UNOBSERVED_DRAIN } from '../../src/drain/writer-parts.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { RANGES_QUEUE, WRITES_QUEUE } from '../../src/keys.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { takeStamps } from '../../src/redis/chunk-notes.ts';
import { CHUNK_JOB, WRITE_JOB_OPTIONS } from '../../src/schema/job.ts';
import type { Options } from '../../src/config.ts';
import type { Producer, Ticket } from '../../src/types/write.ts';
import { type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf } from '../helpers/operations.ts';
import { startWorker } from '../helpers/worker-process.ts';
import { createSetting } from '../helpers/setting.ts';

/** Chunks of one operation each. */
const SINGLE = { chunkMaxItems: 1 };

async function setUp(t: ExecutionContext, extra: Options = {}) {
  const setting = await createSetting(t, { ...ONE_LANE, ...extra });
  const { options } = setting.deployment;
  return { ...setting, producer: setting.use(await openProducer({ ...options, ...SINGLE })) };
}

/** A worker in this process that counts the chunks it was given. */
async function work(t: ExecutionContext, { options }: Deployment, extra: Options = {}) {
  const seen = { chunks: 0 };
  const observer = { ...UNOBSERVED_DRAIN, chunkParsed: () => void seen.chunks++ };
  const worker = await startDrain({ ...options, ...extra }, observer);
  t.teardown(() => worker.close());
  return seen;
}

/** Stamps a chunk now; its job comes when told. Range deletes that are stamped meanwhile wait for it. */
async function holdChunk(t: ExecutionContext, { redis, keys }: Deployment, id: string) {
  const chunkId = randomUUID();
  const { first } = await takeStamps(redis, keys, chunkId, [id]);
  const { job } = chunkOf([{ id, stamp: first, kind: 'json', body: '1', state: 'open' }]);
  const writes = new Queue(WRITES_QUEUE, { connection: redis, prefix: keys.queuePrefix });
  t.teardown(() => writes.close());
  return { release: () => writes.add(CHUNK_JOB, job, { ...WRITE_JOB_OPTIONS, jobId: chunkId }) };
}

const statusOf = async (ticket: Ticket) => (await ticket.settled()).status;

async function put(producer: Producer, ids: readonly string[], state?: string): Promise<void> {
  await producer.submitMany(
    ids.map((id) => ({ id, content: id })),
    state === undefined ? {} : { state },
  );
  await producer.flush();
}

function waitingJobs({ redis, keys }: Deployment, queue: string): Promise<number> {
  return redis.zcard(`${keys.queuePrefix}:${queue}:delayed`);
}

test('a setState does not wait for a prefix range that covers none of its ids', async (t) => {
  const { deployment, producer } = await setUp(t);
  await work(t, deployment);
  await put(producer, ['a.1', 'b.1']);
  const held = await holdChunk(t, deployment, 'late');
  const range = await producer.deletePrefix('a.');
  t.is(await statusOf(await producer.setState('b.1', 'open')), 'applied');
  t.is(await statusOf(await producer.submit({ id: 'a.1', content: 2 })), 'applied');
  await held.release();
  t.is((await range.settled()).deleted, 0, 'a.1 was written again, later');
});

test('a setState that an earlier range delete concerns settles after it, having been taken once', async (t) => {
  const { deployment, producer } = await setUp(t);
  const seen = await work(t, deployment);
  await put(producer, ['a.1', 'b.1', 'b.2'], 'open');
  const before = seen.chunks;
  const held = await holdChunk(t, deployment, 'late');
  const prefix = await producer.deletePrefix('a.');
  const covered = await producer.setState('a.1', 'done');
  const state = await producer.deleteByState('open');
  const hidden = await producer.setState('b.1', 'done');
  await eventually(async () => (await waitingJobs(deployment, WRITES_QUEUE)) === 2, 'both setStates wait');
  // Others settle meanwhile, each a reason to look at what waits.
  for (let i = 0; i < 20; i++) await (await producer.submit({ id: `c.${i}`, content: i })).settled();
  t.is(await waitingJobs(deployment, WRITES_QUEUE), 2);
  await held.release();
  t.is((await prefix.settled()).deleted, 1);
  t.is(await statusOf(covered), 'missing');
  t.is((await state.settled()).deleted, 3, 'b.1, b.2 and the late one');
  t.is(await statusOf(hidden), 'missing');
  t.is(seen.chunks - before, 2 + 20 + 1, 'each chunk was taken once');
  await eventually(async () => (await waitingJobs(deployment, WRITES_QUEUE)) === 0, 'nothing waits any more');
  t.is(await waitingJobs(deployment, RANGES_QUEUE), 0);
});

test('I10: waiting chunks hold no slot: what they wait for is taken behind them, by one slot of two workers', async (t) => {
  const { deployment, producer } = await setUp(t);
  await work(t, deployment, { drainConcurrency: 1 });
  await work(t, deployment, { drainConcurrency: 1 });
  const ids = Array.from({ length: 60 }, (_, i) => `a.${i}`);
  await put(producer, ids, 'open');
  const held = await holdChunk(t, deployment, 'late');
  const tickets: Ticket[] = [];
  const ranges = [];
  for (const [i, id] of ids.entries()) {
    if (i % 10 === 0) {
      ranges.push(await producer.deletePrefix(`a.${i}`), await producer.deleteByState(`s${i - 1}`));
    }
    tickets.push(await producer.setState(id, `s${i}`));
  }
  await eventually(async () => (await waitingJobs(deployment, WRITES_QUEUE)) === ids.length, 'all wait');
  await held.release();
  const deleted: number[] = [];
  for (const range of ranges) deleted.push((await range.settled()).deleted);
  const statuses = await Promise.all(tickets.map(statusOf));
  t.deepEqual({ statuses, deleted }, play(ids));
});

/** The same operations one after the other. */
function play(ids: readonly string[]): { statuses: string[]; deleted: number[] } {
  const live = new Map([...ids, 'late'].map((id) => [id, 'open']));
  const statuses: string[] = [];
  const deleted: number[] = [];
  const drop = (isGone: (id: string, state: string) => boolean) => {
    const gone = [...live].filter(([id, state]) => isGone(id, state));
    for (const [id] of gone) live.delete(id);
    deleted.push(gone.length);
  };
  ids.forEach((id, i) => {
    if (i % 10 === 0) {
      drop((other) => other.startsWith(`a.${i}`));
      drop((_, state) => state === `s${i - 1}`);
    }
    statuses.push(live.has(id) ? 'applied' : 'missing');
    if (live.has(id)) live.set(id, `s${i}`);
  });
  return { statuses, deleted };
}

test('I3: what waits in a worker that is killed is done by another', async (t) => {
  const { deployment, producer } = await setUp(t, { chunkLockMs: 1000 });
  const env = { ...deployment.env, TIERLINE_CHUNK_LOCK_MS: '1000' };
  const first = await startWorker('drain', env);
  await put(producer, ['a.1', 'b.1'], 'open');
  const held = await holdChunk(t, deployment, 'late');
  const range = await producer.deletePrefix('a.');
  const covered = await producer.setState('a.1', 'done');
  await eventually(
    async () =>
      (await waitingJobs(deployment, WRITES_QUEUE)) === 1 &&
      (await waitingJobs(deployment, RANGES_QUEUE)) === 1,
    'the range and the setState wait',
  );
  await first.stop('SIGKILL');
  const second = await startWorker('drain', env);
  t.teardown(() => second.stop());
  await held.release();
  t.is((await range.settled()).deleted, 1);
  t.is(await statusOf(covered), 'missing');
});

test('I12: a worker that stops gives back what waits, and another does it', async (t) => {
  const { deployment, producer } = await setUp(t);
  const first = await startDrain(deployment.options);
  await put(producer, ['a.1'], 'open');
  const held = await holdChunk(t, deployment, 'late');
  const range = await producer.deletePrefix('a.');
  const covered = await producer.setState('a.1', 'done');
  await eventually(async () => (await waitingJobs(deployment, WRITES_QUEUE)) === 1, 'the setState waits');
  await first.close();
  t.is(await waitingJobs(deployment, WRITES_QUEUE), 0);
  await work(t, deployment);
  await held.release();
  t.is((await range.settled()).deleted, 1);
  t.is(await statusOf(covered), 'missing');
});
