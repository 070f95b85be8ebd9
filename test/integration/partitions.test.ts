import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { removeKeys } from '../../src/redis/masters.ts';
import type { Options } from '../../src/config.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { AtomicRefusedError, ConfigError, PartitionsError, QueueUnavailableError } from '../../src/errors.ts';
import { keysOf } from '../../src/keys.ts';
import { raisePartitions } from '../../src/maintenance/raise-partitions.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { migrate } from '../../src/postgres/migrator.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { takeStamps } from '../../src/redis/chunk-notes.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { createSetting } from '../helpers/setting.ts';

const refused = { instanceOf: PartitionsError, code: 'ERR_PARTITIONS' } as const;

/** As a process that was not told the number. */
function untold({ options }: Deployment, extra: Options = {}): Options {
  return { ...options, partitions: undefined, ...extra };
}

/** An id of each partition. */
function idsOf({ lanes }: Deployment): string[] {
  const ids: string[] = [];
  for (let n = 0; ids.filter(Boolean).length < lanes.count; n++) ids[lanes.of(`k.${n}`)] ??= `k.${n}`;
  return ids;
}

async function setUp(t: ExecutionContext, partitions: number, extra: Options = {}) {
  const setting = await createSetting(t, { partitions, ...extra });
  const { shards, redis, options: of, log } = setting.deployment;
  const raise = (count: number) =>
    raisePartitions({ shards, queue: redis, namespace: of.namespace, log }, count);
  return { ...setting, raise };
}

test('every process learns the number, and one that is configured otherwise is refused with the fix', async (t) => {
  const { deployment, use } = await setUp(t, 4);
  const store = use(await openStore(untold(deployment)));
  use(await startDrain(untold(deployment)));
  const ids = idsOf(deployment);
  await (await store.submitMany(ids.map((id) => ({ id, content: id })))).settled();
  for (const { clock } of deployment.lanes.keys) t.is(await deployment.redis.hget(clock, 'entries'), '1');
  const wrong = untold(deployment, { partitions: 8 });
  for (const open of [openProducer, openReader, startDrain, startMaintenance]) {
    const { message } = await t.throwsAsync(open(wrong), refused);
    t.regex(message, /set it to 4/);
  }
});

test('a number in Redis that differs from the one in Postgres is refused with the fix', async (t) => {
  const { deployment } = await setUp(t, 2);
  await deployment.pool.query('UPDATE deployment SET partitions = 4');
  const { message } = await t.throwsAsync(openReader(untold(deployment)), refused);
  t.regex(message, /Redis knows 2 partitions and Postgres 4.*partitions raise 4/s);
});

test('migrate sets the number in an empty database, and afterwards refuses another', async (t) => {
  const { deployment, use, drain } = await setUp(t, 2);
  const { databaseUrl } = deployment.options;
  const stored = async () => (await deployment.pool.query('SELECT partitions FROM deployment')).rows;
  await migrate(databaseUrl);
  t.deepEqual(await stored(), [{ partitions: 2 }], 'left out: as it is');
  const store = use(await openStore(deployment.options));
  await drain();
  await (await store.submit({ id: 'a', content: 1 })).settled();
  await migrate(databaseUrl, 2);
  const { message } = await t.throwsAsync(migrate(databaseUrl, 8), refused);
  t.regex(message, /partitions raise 8/);
  t.deepEqual(await stored(), [{ partitions: 2 }]);
});

test('I3: a producer that goes by another number gets no stamps, also when Redis lost its data', async (t) => {
  const { deployment, use } = await setUp(t, 1);
  const { redis, lanes } = deployment;
  const producer = use(await openProducer(untold(deployment)));
  await redis.hset(lanes.home.clock, 'partitions', 8);
  await t.throwsAsync(producer.submit({ id: 'a', content: 1 }), refused);
  t.is(await redis.zcard(lanes.home.inflight), 0);

  const eight = await setUp(t, 8, { enqueueTimeoutMs: 3000 });
  const sender = eight.use(await openProducer(eight.deployment.options));
  await eight.deployment.redis.hdel(eight.deployment.lanes.keysOf('a').clock, 'partitions');
  const { accepted } = await t.throwsAsync(sender.submit({ id: 'a', content: 1 }), {
    instanceOf: QueueUnavailableError,
  });
  t.is(accepted, false);
  const mistaken = keysOf(eight.deployment.options.namespace);
  await t.throwsAsync(takeStamps(eight.deployment.redis, mistaken, randomUUID(), ['a']), refused);
  // Every process that knows Postgres marks the lanes again.
  await eight.drain();
  t.is((await (await sender.submit({ id: 'a', content: 2 })).settled()).status, 'applied');
});

test('writes go on after Redis was emptied, each in its own partition', async (t) => {
  const { deployment, use, drain } = await setUp(t, 8);
  const { redis, lanes } = deployment;
  const producer = use(await openProducer(deployment.options));
  await drain();
  const ids = idsOf(deployment);
  const write = async () => (await producer.submitMany(ids.map((id) => ({ id, content: 1 })))).settled();
  t.is((await write()).succeeded, 8);
  await removeKeys(redis, `{${deployment.options.namespace}*`);
  t.is((await write()).succeeded, 8);
  for (const { clock } of lanes.keys) t.is(await redis.hget(clock, 'partitions'), '8');
  const { rows } = await deployment.pool.query('SELECT count(*)::int AS items FROM items');
  t.deepEqual(rows, [{ items: 8 }]);
});

test('an atomic call over two partitions is refused with the way out, and one within a tag is not', async (t) => {
  const { deployment, use, drain } = await setUp(t, 8);
  const store = use(await openStore(deployment.options));
  await drain();
  const items = idsOf(deployment).map((id) => ({ id, content: 1 }));
  const { message } = await t.throwsAsync(store.submitMany(items, { atomic: true }), {
    instanceOf: AtomicRefusedError,
  });
  t.true(message.includes(JSON.stringify(items[0]?.id)) && message.includes('{order.17}'), message);
  const tagged = items.map(({ id }) => ({ id: `{order.17}.${id}`, content: 1 }));
  t.is((await (await store.submitMany(tagged, { atomic: true })).settled()).succeeded, 8);
  t.is(
    (
      await (
        await store.deleteMany(
          tagged.map(({ id }) => id),
          { atomic: true },
        )
      ).settled()
    ).succeeded,
    8,
  );
});

test('a worker drains the partitions that it is told, and a wrong one is refused', async (t) => {
  const { deployment, use } = await setUp(t, 4);
  const producer = use(await openProducer(deployment.options));
  const ids = idsOf(deployment);
  const { tickets } = await producer.submitMany(ids.map((id) => ({ id, content: 1 })));
  use(await startDrain({ ...deployment.options, drainPartitions: [0, 1, 3] }));
  for (const partition of [0, 1, 3]) t.is((await tickets[partition]?.settled())?.status, 'applied');
  const inFlight = () => deployment.redis.zcard(deployment.lanes.keys[2]?.inflight ?? '');
  t.is(await inFlight(), 1);
  use(await startDrain({ ...deployment.options, drainPartitions: [2] }));
  await tickets[2]?.settled();
  t.is(await inFlight(), 0);
  const { message } = await t.throwsAsync(startDrain({ ...deployment.options, drainPartitions: [4] }), {
    instanceOf: ConfigError,
  });
  t.regex(message, /names partition 4/);
});

test('I6 I7: what is missed on the feed of one partition takes nothing from the readers of another', async (t) => {
  const { deployment, use, drain } = await setUp(t, 4);
  const store = use(await openStore(deployment.options));
  await drain();
  const [a, b] = idsOf(deployment) as [string, string];
  const gone = idsOf(deployment).map((id) => `${id}.absent`);
  await (await store.submitMany([a, b].map((id) => ({ id, content: id })))).settled();
  const reader = use(await openReader(deployment.options));
  await eventually(() => reader.counters.filter.trusted, 'every filter is trusted');
  await reader.getMany([a, b]);
  t.is((await reader.lookup(a)).tier, 'l1');
  // As a Redis that came back without the data of that lane.
  await deployment.redis.hset(deployment.lanes.keysOf(b).clock, 'epoch', 'another');
  await eventually(() => reader.counters.l1.flushes === 1, 'the gap was found');
  t.is(reader.peek(b), undefined);
  t.like(reader.peek(a), { content: a });
  t.is((await reader.lookup(a)).tier, 'l1');
  t.like(await reader.get(b), { content: b });
  t.deepEqual(
    await Promise.all(gone.map((id) => reader.contains(id))),
    gone.map(() => false),
  );
  await eventually(() => reader.counters.filter.trusted, 'the filter is loaded again');
  t.true(gone.every((id) => reader.definitelyMissing(id)));
});

test('flush, pressure, status and range deletes are of all partitions', async (t) => {
  const { deployment, use, drain } = await setUp(t, 4, { maxWaitingItems: 40 });
  const store = use(await openStore(deployment.options));
  const ids = idsOf(deployment);
  await store.submitMany(ids.map((id) => ({ id, content: 1, state: 'open' })));
  t.like(store.pressure(), { waitingItems: 4, ratio: 0.1, level: 'normal' });
  for (const id of ids) t.like(await store.status(id), { status: 'pending' });
  for (const id of ids) t.like(await store.get(id), { content: 1 });
  await drain();
  await store.flush();
  for (const id of ids) t.like(await store.status(id), { status: 'synced', inL2: true, inL3: true });
  await eventually(() => store.pressure().waitingItems === 0, 'pressure is fresh');
  const range = await store.deletePrefix('k.');
  t.deepEqual(await range.settled(), { deleted: 4, dead: 0 });
  t.is(await store.countPrefix(''), 0);
});

test('I1: a range delete of one partition leaves the items of another alone, whatever their clocks say', async (t) => {
  const { deployment, use } = await setUp(t, 2);
  const { redis, lanes, options } = deployment;
  const [a, b] = idsOf(deployment) as [string, string];
  await redis.hset(lanes.keysOf(b).clock, 'last', Date.now() * 1000 + 3_600_000_000);
  const store = use(await openStore(options));
  const first = use(await startDrain({ ...options, drainPartitions: [lanes.of(a)] }));
  const range = await store.deletePrefix('k.');
  const after = await store.submit({ id: a, content: 'after the range' });
  t.true(after.version < range.version);
  await after.settled();
  await first.close();
  use(await startDrain(options));
  t.deepEqual(await range.settled(), { deleted: 0, dead: 0 });
  t.like(await store.get(a), { content: 'after the range' });
  t.is(await store.countPrefix(''), 1);
});

test('raising the number keeps every item and every promise, and says what is in flight', async (t) => {
  const { deployment, drain, raise } = await setUp(t, 1);
  const { redis, options } = deployment;
  const before = await openStore(options);
  const ids = Array.from({ length: 200 }, (_, n) => `k.${n}`);
  await before.submitMany(ids.map((id) => ({ id, content: 1, state: 'old' })));
  t.regex((await t.throwsAsync(raise(8), refused)).message, /200 unsettled items/);
  const worker = await drain();
  await before.flush();
  t.regex((await t.throwsAsync(raise(8), refused)).message, /1 drain workers connected/);
  await worker.close();
  const future = Date.now() * 1000 + 3_600_000_000;
  await redis.hset(deployment.lanes.home.clock, 'last', future);
  const root = await before.merkle.root();
  const stale = await openProducer(options);
  t.is(await raise(8), 1);
  await t.throwsAsync(before.submit({ id: 'k.1', content: 2 }), refused);
  await t.throwsAsync(stale.submit({ id: 'k.1', content: 2 }), refused);
  await Promise.all([before.close(), stale.close()]);

  const raised = untold(deployment);
  await using after = await openStore(raised);
  await using _worker = await startDrain(raised);
  t.deepEqual(await after.merkle.root(), root);
  t.is(await after.countByState('old'), 200);
  const ticket = await after.submit({ id: 'k.1', content: 3 });
  t.true(ticket.version > future, 'the clocks go on above all stamps that were given');
  await ticket.settled();
  t.like(await after.get('k.1'), { content: 3 });
  await (await after.submitMany(ids.map((id) => ({ id, content: 4 })))).settled();
  t.is((await (await after.deleteByState('old')).settled()).deleted, 200);
  t.deepEqual((await after.merkle.verify()).differences, []);
  t.regex((await t.throwsAsync(raise(4), refused)).message, /There are 8/);
});

test('raising that was interrupted is ended by running it again', async (t) => {
  const { deployment, raise } = await setUp(t, 2);
  const { redis, lanes, pool } = deployment;
  // As after a crash between Postgres and Redis.
  for (const { clock } of [lanes.home, ...lanes.keys]) await redis.hset(clock, 'partitions', 0);
  await pool.query('UPDATE deployment SET partitions = 8');
  t.is(await raise(8), 2);
  await using store = await openStore(untold(deployment));
  await using _worker = await startDrain(untold(deployment));
  t.is((await (await store.submit({ id: 'a', content: 1 })).settled()).status, 'applied');
});
