import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { Queue } from 'bullmq';
import { JobRefusedError } from '../../src/errors.ts';
import { RANGES_QUEUE, WRITES_QUEUE } from '../../src/keys.ts';
import { replayLetter } from '../../src/maintenance/replay.ts';
import { listDeadLetters } from '../../src/postgres/dead-letters.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { RANGE_JOB } from '../../src/schema/job.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/types/read.ts';
import { type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { refuseDeath } from '../helpers/poison.ts';
import { createSetting } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext) {
  const setting = await createSetting(t, ONE_LANE);
  await setting.drain();
  return { ...setting, store: setting.use(await openStore(setting.deployment.options)) };
}

/** A queue of the deployment, as somebody else would write to it. */
function foreignQueue(t: ExecutionContext, { redis, keys }: Deployment, name: string): Queue {
  const queue = new Queue(name, { connection: redis, prefix: keys.queuePrefix });
  t.teardown(() => queue.close());
  return queue;
}

const UNRUNNABLE: readonly (readonly [name: string, job: object, id?: string])[] = [
  ['an id that is no UUID', { kind: 'prefix', value: 'r.' }, 'mine'],
  ['a NUL in the prefix', { kind: 'prefix', value: 'r\0' }],
  ['a lone surrogate', { kind: 'prefix', value: 'r\ud800' }],
  ['a prefix longer than an id', { kind: 'prefix', value: 'r'.repeat(256) }],
  ['a state that is too long', { kind: 'state', value: 's'.repeat(65) }],
  ['no value', { kind: 'state', value: '' }],
  ['a stamp that is no integer', { kind: 'prefix', value: 'r.', stamp: 1.5 }],
];

test('I9: a range job that cannot run goes to dead_letters, and range deletes after it settle', async (t) => {
  const { deployment, store } = await setUp(t);
  const queue = foreignQueue(t, deployment, RANGES_QUEUE);
  const ids: string[] = [];
  for (const [, job, jobId = randomUUID()] of UNRUNNABLE) {
    ids.push(jobId);
    await queue.add(RANGE_JOB, { v: 1, stamp: 1, ...job }, { jobId });
  }
  await (await store.submit({ id: 'r.1', content: 1 })).settled();
  t.deepEqual(await (await store.deletePrefix('r.')).settled(), { deleted: 1, dead: 0 });
  const buried = async () => (await listDeadLetters(deployment.pool, 100)).map((letter) => letter.chunkId);
  await eventually(async () => (await buried()).length >= ids.length, 'each is in dead_letters');
  t.deepEqual((await buried()).toSorted(), ids.toSorted());
});

test('I9: a range delete that Postgres refuses as a whole says so, and range deletes after it settle', async (t) => {
  const { deployment, store } = await setUp(t);
  await deployment.pool.query(
    `ALTER TABLE range_deletes ADD CONSTRAINT not_this CHECK (value <> 'refused.')`,
  );
  const refused = await store.deletePrefix('refused.');
  const error = await t.throwsAsync(refused.settled(), { instanceOf: JobRefusedError });
  t.regex(error?.message ?? '', /not_this/);
  t.deepEqual(await (await store.deletePrefix('r.')).settled(), { deleted: 0, dead: 0 });
  t.is((await listDeadLetters(deployment.pool, 100)).length, 1);
});

test('I9: one range delete that Postgres refuses harms none of those that came with it', async (t) => {
  const { deployment, store } = await setUp(t);
  await deployment.pool.query(
    `ALTER TABLE range_deletes ADD CONSTRAINT not_this CHECK (value <> 'refused.')`,
  );
  const prefixes = ['a.', 'refused.', 'b.', 'c.', 'd.'];
  const tickets = await Promise.all(prefixes.map((prefix) => store.deletePrefix(prefix)));
  const ends = await Promise.allSettled(tickets.map((ticket) => ticket.settled()));
  const rejected = prefixes.filter((_, i) => ends[i]?.status === 'rejected');
  t.deepEqual(rejected, ['refused.']);
  t.is((await listDeadLetters(deployment.pool, 100)).length, 1);
});

test('I4 I9: a row that Postgres refuses is left alone by its range delete, which tells, and can be replayed', async (t) => {
  const { deployment, store } = await setUp(t);
  const { pool, redis, config } = deployment;
  const ids = Array.from({ length: 2500 }, (_, i) => `r.${i}`);
  await store.submitMany(
    ids.map((id) => ({ id, content: id })),
    { state: 'open' },
  );
  await store.flush();
  const death = await refuseDeath(pool, ['r.7', 'r.1999']);

  const range = await store.deletePrefix('r.');
  t.deepEqual(await range.settled(), { deleted: 2498, dead: 2 });
  t.deepEqual(await (await store.deleteByState('open')).settled(), { deleted: 0, dead: 2 });
  t.is((await (await store.setState('r.7', 'kept')).settled()).status, 'applied');
  t.deepEqual(await live(store, ids), ['r.7', 'r.1999']);
  t.deepEqual(await verifyMerkle(pool), { ok: true, differences: [] });

  const letters = await listDeadLetters(pool, 100);
  const told = letters.map(
    ({ itemId, stamp, sqlState }) => `${itemId} ${stamp === range.version} ${sqlState}`,
  );
  t.deepEqual(told.toSorted(), [
    'r.1999 false 23514',
    'r.1999 true 23514',
    'r.7 false 23514',
    'r.7 true 23514',
  ]);
  await death.lift();
  const writes = foreignQueue(t, deployment, WRITES_QUEUE);
  for (const { seq } of letters) {
    const { status } = await replayLetter(
      { shards: deployment.shards, redis, writes: [writes], lanes: deployment.lanes, config },
      seq,
    );
    t.true(status === 'replayed' || status === 'superseded', status);
  }
  t.deepEqual(await live(store, ids), []);
  t.is((await listDeadLetters(pool, 100)).length, 0);
  t.deepEqual(await verifyMerkle(pool), { ok: true, differences: [] });
});

async function live(store: Store, ids: readonly string[]): Promise<string[]> {
  return (await store.getMany(ids)).flatMap((item) => (item === undefined ? [] : [item.id]));
}
