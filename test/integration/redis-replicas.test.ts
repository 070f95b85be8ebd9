import test, { type ExecutionContext } from 'ava';
import { Redis } from 'ioredis';
import { startDrain } from '../../src/drain/start-drain.ts';
import { QueueLostError, QueueUnavailableError, UnsafeServerError } from '../../src/errors.ts';
import { RANGES_QUEUE, WRITES_QUEUE } from '../../src/keys.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { runCommand } from '../helpers/command-line.ts';
import type { Producer } from '../../src/types/write.ts';
import type { Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/proxy.ts';
import { startRedisReplica } from '../helpers/redis-replica.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { closing, createSetting } from '../helpers/setting.ts';

/** A primary with one replica behind a link that can be cut. */
async function setUp(t: ExecutionContext, enqueueReplicas: number) {
  const primary = await startRedisServer();
  const link = await startProxy(primary.url);
  const replica = await startRedisReplica(link.url);
  const front = await startProxy(primary.url);
  let primaryIsGone = false;
  t.teardown(async () => {
    await Promise.all([link.close(), front.close(), replica.close(), primaryIsGone || primary.close()]);
  });
  const { deployment, use } = await createSetting(t, {
    redisUrl: front.url,
    enqueueReplicas,
    enqueueTimeoutMs: 4000,
  });
  const producer = use(await openProducer(deployment.options));
  return {
    deployment,
    producer,
    link,
    drain: async () => use(await startDrain(deployment.options)),
    /**
     * Kills the primary at once; the replica takes its place.
     * @param unseen done on the new primary before the producer and the deployment see it
     */
    async failOver(unseen?: (url: string) => Promise<unknown>) {
      primaryIsGone = true;
      await front.refuse();
      await primary.close();
      await replica.promote();
      await unseen?.(replica.url);
      front.retarget(replica.url);
      await front.open();
    },
  };
}

async function contentsOf(deployment: Deployment, ...ids: string[]): Promise<unknown[]> {
  const rows = await deployment.query<{ id: string; content: unknown }>(
    'SELECT id, content FROM items WHERE id = ANY($1) AND NOT deleted',
    [ids],
  );
  return ids.map((id) => rows.find((row) => row.id === id)?.content);
}

async function settle(writer: Producer, id: string): Promise<void> {
  await (await writer.submit({ id, content: id })).settled();
}

async function trimFeed(redisUrl: string, feed: string): Promise<void> {
  const redis = new Redis(redisUrl);
  await redis.xtrim(feed, 'MAXLEN', 1);
  redis.disconnect();
}

/** Jobs that wait, in all partitions. */
async function queued({ redis, lanes }: Deployment, queue: string): Promise<number> {
  const waiting = await Promise.all(
    lanes.keys.map(({ queuePrefix }) => redis.llen(`${queuePrefix}:${queue}:wait`)),
  );
  return waiting.reduce((sum, jobs) => sum + jobs, 0);
}

test('I3: a submit resolves when the replica has it: the primary is killed, the replica promoted, and the writes settle', async (t) => {
  const { deployment, producer, link, drain, failOver } = await setUp(t, 1);
  link.freeze();
  const done: string[] = [];
  const submitting = producer.submit({ id: 'a', content: 1 }).finally(() => done.push('submit'));
  const deleting = producer.deletePrefix('b').finally(() => done.push('deletePrefix'));
  await eventually(async () => (await queued(deployment, WRITES_QUEUE)) === 1, 'the primary has the write');
  await eventually(
    async () => (await queued(deployment, RANGES_QUEUE)) === deployment.lanes.count,
    'the primary has the range',
  );
  t.deepEqual(done, [], 'the replica has neither');
  await link.open();
  const ticket = await submitting;
  const range = await deleting;
  await failOver();
  await drain();
  t.is((await ticket.settled()).status, 'applied');
  t.deepEqual(await range.settled(), { deleted: 0, dead: 0 });
  t.deepEqual(await contentsOf(deployment, 'a'), [1]);
});

test('I8: a replica that is cut off: the write that is in the queue is told as unknown, and those after it are not accepted', async (t) => {
  const { deployment, producer, link, drain } = await setUp(t, 1);
  await link.refuse();
  const refused = (id: string) =>
    t.throwsAsync(producer.submit({ id, content: id }), {
      instanceOf: QueueUnavailableError,
      message: /0 of the 1 replicas/,
    });
  t.is((await refused('first'))?.accepted, 'unknown');
  t.is((await refused('second'))?.accepted, false);
  const range = await t.throwsAsync(producer.deletePrefix('x'), { instanceOf: QueueUnavailableError });
  t.is(range?.accepted, false);
  t.is(await queued(deployment, WRITES_QUEUE), 1);
  t.is(await queued(deployment, RANGES_QUEUE), 0);

  await link.open();
  await eventually(async () => (await deployment.redis.wait(1, 100)) === 1, 'the replica is back');
  const ticket = await producer.submit({ id: 'third', content: 'third' });
  await drain();
  t.is((await ticket.settled()).status, 'applied');
  await eventually(
    async () => (await contentsOf(deployment, 'first'))[0] === 'first',
    'the first one settles',
  );
  t.deepEqual(await contentsOf(deployment, 'second'), [undefined]);
});

test('I8: a write that died with the primary before the replica had it is not called accepted', async (t) => {
  const { deployment, producer, link, drain, failOver } = await setUp(t, 1);
  const before = await producer.submit({ id: 'before', content: 0 });
  link.freeze();
  const submitting = producer.submit({ id: 'a', content: 1 });
  await eventually(async () => (await queued(deployment, WRITES_QUEUE)) === 2, 'the primary has it');
  const refused = t.throwsAsync(submitting, { instanceOf: QueueUnavailableError });
  await failOver();
  t.is((await refused)?.accepted, 'unknown');
  await drain();
  t.is((await before.settled()).status, 'applied');
  t.deepEqual(await contentsOf(deployment, 'before', 'a'), [0, undefined]);
});

test('I8: a failover that lost accepted writes is told to all who wait for them', async (t) => {
  const { deployment, producer, link, drain, failOver } = await setUp(t, 0);
  const kept = await producer.submit({ id: 'kept', content: 0 });
  await eventually(async () => (await deployment.redis.wait(1, 100)) === 1, 'the replica has it');
  link.freeze();
  const lost = await producer.submit({ id: 'lost', content: 1 });
  const range = await producer.deletePrefix('x');
  await failOver();
  await t.throwsAsync(lost.settled(), { instanceOf: QueueLostError });
  await t.throwsAsync(range.settled(), { instanceOf: QueueLostError });
  await drain();
  t.is((await kept.settled()).status, 'applied');
  await t.throwsAsync(producer.flush(), { instanceOf: QueueLostError });
  t.deepEqual(await contentsOf(deployment, 'kept', 'lost'), [0, undefined]);
});

for (const trimmed of [false, true]) {
  const and = trimmed ? ', and has trimmed its feed' : '';
  test(`I8: it is told also when the new primary has settled more by then than the old one had told${and}`, async (t) => {
    const { deployment, producer, link, failOver } = await setUp(t, 0);
    const drain = await startDrain(deployment.options);
    await settle(producer, 'a');
    await eventually(async () => (await deployment.redis.wait(1, 100)) === 1, 'the replica has it');
    link.freeze();
    for (const id of ['b', 'c']) await settle(producer, id);
    await drain.close();
    const lost = await producer.submit({ id: 'lost', content: 1 });
    await failOver(async (redisUrl) => {
      const options = { ...deployment.options, redisUrl };
      const other = await openProducer(options);
      const worker = await startDrain(options);
      for (const id of ['d', 'e', 'f', 'g']) await settle(other, id);
      await worker.close();
      await other.close();
      if (trimmed) for (const { feed } of deployment.lanes.keys) await trimFeed(redisUrl, feed);
    });
    await t.throwsAsync(lost.settled(), { instanceOf: QueueLostError });
  });
}

test('chunks that are queued together share their waits for replicas', async (t) => {
  const { deployment, producer } = await setUp(t, 1);
  const chunks = 40;
  await producer.submitMany(Array.from({ length: chunks * 500 }, (_, n) => ({ id: `k.${n}`, content: n })));
  t.true((await queued(deployment, WRITES_QUEUE)) >= chunks);
  const calls = /cmdstat_wait:calls=(\d+)/.exec(await deployment.redis.info('commandstats'))?.[1];
  t.true(Number(calls) < chunks / 2, `${calls} calls`);
});

test('I8: with fewer replicas than asked for, a producer is refused at its start, and the doctor says why', async (t) => {
  const server = closing(t, await startRedisServer());
  const { deployment } = await createSetting(t, { redisUrl: server.url });
  await t.throwsAsync(openProducer({ ...deployment.options, enqueueReplicas: 1 }), {
    instanceOf: UnsafeServerError,
    message: /0 connected replicas.*REPLICAOF/,
  });
  const env = { ...deployment.env, TIERLINE_ENQUEUE_REPLICAS: '1' };
  const { code, stdout } = await runCommand(env, ['doctor']);
  t.is(code, 1);
  t.regex(stdout, /FAIL +redis: replicas .*\n +fix: connect replicas/);
});
