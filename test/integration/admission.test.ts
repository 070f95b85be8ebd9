import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { loadConfig, type Options } from '../../src/config.ts';
import { BackpressureError, SettleTimeoutError } from '../../src/errors.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { UNOBSERVED_PRODUCER } from '../../src/producer/producer-observer.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { readBacklog, sweepBytes, waitingNow } from '../../src/redis/backlog.ts';
import { takeStamps } from '../../src/redis/chunk-notes.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { NewItem, Producer } from '../../src/types/write.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/proxy.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { closing, createSetting } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext, options: Options = {}) {
  const setting = await createSetting(t, { ...ONE_LANE, ...options });
  const open = async (observer = UNOBSERVED_PRODUCER) =>
    setting.use(await openProducer(setting.deployment.options, observer));
  return { ...setting, open, producer: await open() };
}

function itemsOf(prefix: string, count: number, bytes = 8): NewItem[] {
  return Array.from({ length: count }, (_, i) => ({ id: `${prefix}.${i}`, content: 'x'.repeat(bytes) }));
}

/** Submits until there is room. */
async function insist<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof BackpressureError)) throw error;
      await sleep(error.retryAfterMs);
    }
  }
}

async function notes({ redis, keys }: Deployment) {
  return {
    inflight: await redis.zcard(keys.inflight),
    pending: await redis.hlen(keys.pending),
    ranges: await redis.zcard(keys.ranges),
    bytes: await redis.hgetall(keys.bytes).then(({ total, ...chunks }) => [Number(total ?? 0), chunks]),
  };
}
const NO_NOTES = { inflight: 0, pending: 0, ranges: 0, bytes: [0, {}] };

test('I10: a submit to a full queue is refused by name, notes nothing, and is accepted once there is room', async (t) => {
  const { deployment, producer, drain } = await setUp(t, { maxWaitingItems: 10 });
  await producer.submitMany(itemsOf('first', 10));
  const before = await notes(deployment);
  const error = await t.throwsAsync(producer.submit({ id: 'late', content: 1 }), {
    instanceOf: BackpressureError,
    code: 'ERR_BACKPRESSURE',
    message: /10 items wait, and 10 may/,
  });
  t.deepEqual(error.limit, { of: 'items', max: 10, measured: 10 });
  t.true(error.retryAfterMs > 0);
  t.is(producer.pressure().level, 'critical');
  t.deepEqual(await notes(deployment), before);
  await t.throwsAsync(producer.submitMany(itemsOf('late', 3)), { instanceOf: BackpressureError });
  await t.throwsAsync(producer.submitMany(itemsOf('late', 3), { atomic: true }), {
    instanceOf: BackpressureError,
  });

  await drain();
  const { outcomes } = await (await insist(() => producer.submitMany(itemsOf('late', 3)))).settled();
  t.deepEqual(
    outcomes.map(({ status }) => status),
    ['applied', 'applied', 'applied'],
  );
  await producer.flush();
  t.deepEqual(await notes(deployment), NO_NOTES);
});

test('I10: bytes are bounded as items are, also of one id that is written again and again', async (t) => {
  const { producer } = await setUp(t, { maxWaitingBytes: 100_000 });
  let accepted = 0;
  const error = await t.throwsAsync(
    async () => {
      for (; accepted < 100; accepted++) await producer.submit({ id: 'same', content: 'x'.repeat(5000) });
    },
    { instanceOf: BackpressureError },
  );
  t.is(error.limit.of, 'bytes');
  t.true(accepted >= 10 && accepted <= 20, `${accepted}`);
  t.true(producer.pressure().waitingBytes >= 100_000);
});

test('I10: what finds no room in the middle of a large call is rejected item by item', async (t) => {
  const { producer } = await setUp(t, { maxWaitingItems: 20, chunkMaxItems: 10 });
  const batch = await producer.submitMany(itemsOf('many', 50));
  t.true(batch.accepted >= 20 && batch.accepted < 50);
  t.is(batch.accepted + batch.rejected.length, 50);
  t.true(batch.rejected.every(({ error }) => error instanceof BackpressureError));
});

test('I10: deletes, new states and range deletes find room where items do not', async (t) => {
  const { deployment, producer, drain } = await setUp(t, { maxWaitingItems: 20 });
  await producer.submitMany(itemsOf('d', 20));
  // Submitted together they share a chunk: the refusal of the one must not take the others with it.
  const [put, del, state] = await Promise.allSettled([
    producer.submit({ id: 'e.1', content: 1 }),
    producer.delete('d.1'),
    producer.setState('d.2', 'open'),
  ]);
  t.is(put.status, 'rejected');
  t.is(del.status, 'fulfilled');
  t.is(state.status, 'fulfilled');
  const range = await producer.deletePrefix('d.1');
  for (let i = 0; i < 10; i++) await producer.deleteMany([`x.${i}`]).catch(() => undefined);
  await t.throwsAsync(producer.delete('y'), { instanceOf: BackpressureError }, 'they have a limit too');
  await drain();
  t.is((await range.settled()).deleted, 10, 'd.1 is deleted, d.10 to d.19 and none else');
  await producer.flush();
  t.deepEqual(await notes(deployment), NO_NOTES);
});

/** A producer of a full queue, and a call that is to share a chunk with a submit. */
async function setUpFull(t: ExecutionContext) {
  const { deployment, producer: filler, open, drain } = await setUp(t, { maxWaitingItems: 10 });
  await filler.submit({ id: 'x', content: 1 }, { state: 'tmp' });
  await filler.submitMany(itemsOf('f', 9));
  // Redis has refused it nothing yet, so it lets submits go as far as Redis.
  const producer = await open();
  const share = async <T>(call: (by: Producer) => Promise<T>) => {
    const [shared, submitted] = await Promise.allSettled([
      call(producer),
      producer.submit({ id: 'late', content: 1 }),
    ]);
    t.true(submitted.status === 'rejected' && submitted.reason instanceof BackpressureError);
    return shared;
  };
  return { deployment, producer, share, drain };
}

test('I10: a flush waits for a delete that is sent again out of a refused chunk', async (t) => {
  const { producer, share, drain } = await setUpFull(t);
  const deleting = share((by) => by.delete('x'));
  await t.throwsAsync(
    producer.flush({ timeoutMs: 500 }),
    { instanceOf: SettleTimeoutError },
    'nobody drains yet',
  );
  t.is((await deleting).status, 'fulfilled');
  await drain();
  await producer.flush();
});

test('I12: a delete that is sent again out of a refused chunk is accepted before its producer closes', async (t) => {
  const { deployment, producer, share } = await setUpFull(t);
  const deleting = share((by) => by.delete('x'));
  await producer.close();
  t.is((await deleting).status, 'fulfilled');
  t.is((await notes(deployment)).inflight, 3);
});

test('I1: a setState out of a refused chunk never comes behind a range delete that was called after it', async (t) => {
  const { deployment, producer, share, drain } = await setUpFull(t);
  const setting = share((by) => by.setState('x', 'kept'));
  const range = await producer.deleteByState('tmp');
  const state = await setting;
  t.true(
    state.status === 'fulfilled'
      ? state.value.version < range.version
      : state.reason instanceof BackpressureError,
  );
  await drain();
  await producer.flush();
  const { rows } = await deployment.pool.query('SELECT state FROM items WHERE id = $1 AND NOT deleted', [
    'x',
  ]);
  t.deepEqual(
    rows,
    state.status === 'fulfilled' ? [{ state: 'kept' }] : [],
    'it is kept exactly when the call says so',
  );
});

test('I1, I10: submits are delayed while the queue fills up, and keep their order', async (t) => {
  const { open, drain } = await setUp(t, { maxWaitingItems: 10, chunkMaxItems: 1 });
  const delays: number[] = [];
  const producer = await open({ ...UNOBSERVED_PRODUCER, chunkDelayed: (ms) => void delays.push(ms) });
  await producer.submitMany(itemsOf('fill', 6));
  t.deepEqual(delays, [], 'there is room');
  await producer.submitMany(itemsOf('warn', 2));
  t.is(producer.pressure().level, 'warn');
  delays.length = 0;
  const calls = [
    producer.submit({ id: 'a', content: 1 }),
    producer.delete('a'),
    producer.submit({ id: 'a', content: 2 }),
  ];
  const done = await Promise.allSettled(calls);
  t.true(
    delays.some((ms) => ms > 0),
    delays.join(),
  );
  const versions = done.flatMap((call) => (call.status === 'fulfilled' ? [call.value.version] : []));
  t.true(versions.length >= 2);
  t.deepEqual(
    versions,
    versions.toSorted((a, b) => a - b),
  );
  await drain();
  await producer.flush();
});

test('I10: of two producers that flood one queue neither starves, and all that was accepted settles', async (t) => {
  const { deployment, producer, open, drain } = await setUp(t, { maxWaitingItems: 500, chunkMaxItems: 50 });
  const other = await open();
  await drain();
  const accepted = [0, 0];
  let highest = 0;
  const until = performance.now() + 6000;
  let calls = 0;
  const flood = async (who: number, by: Producer) => {
    while (performance.now() < until) {
      try {
        const batch = await by.submitMany(itemsOf(`f.${calls++}`, 50));
        accepted[who] = (accepted[who] as number) + batch.accepted;
      } catch (error) {
        if (!(error instanceof BackpressureError)) throw error;
        await sleep(error.retryAfterMs);
      }
      highest = Math.max(highest, by.pressure().waitingItems);
    }
  };
  await Promise.all([0, 0, 0, 1, 1, 1].map((who) => flood(who, who === 0 ? producer : other)));
  const [mine, others] = accepted as [number, number];
  t.true(Math.min(mine, others) > 0.2 * Math.max(mine, others), `${mine} and ${others}`);
  t.true(highest <= 500 + 50, `${highest}`);
  await Promise.all([producer.flush(), other.flush()]);
  const { rows } = await deployment.pool.query<{ n: string }>('SELECT count(*) AS n FROM items');
  t.is(Number(rows[0]?.n), mine + others);
  t.deepEqual(await notes(deployment), NO_NOTES);
  await eventually(() => producer.pressure().level === 'normal', 'the pressure falls');
});

test('admission can be turned off: the pressure is only told', async (t) => {
  const { producer } = await setUp(t, { maxWaitingItems: 5, admission: false });
  await producer.submitMany(itemsOf('a', 5));
  await producer.submitMany(itemsOf('b', 5));
  t.like(producer.pressure(), { level: 'critical', waitingItems: 10, ratio: 2 });
});

test('I10: pressure is fresh in a process that never writes, at every level', async (t) => {
  const { producer, open, drain } = await setUp(t, { maxWaitingItems: 1000 });
  await producer.submitMany(itemsOf('p', 200));
  const watcher = await open();
  t.is(watcher.pressure().waitingItems, 200, 'as of opening');
  t.is(watcher.pressure().level, 'normal');
  await drain();
  await eventually(() => watcher.pressure().waitingItems === 0, 'the queue is seen to be empty');
  await producer.submit({ id: 'slow', content: 1 }).then((ticket) => ticket.settled());
  await eventually(() => producer.pressure().waitingItems === 0, 'the last write is seen to settle');
  // Nothing waits here any more, and another process begins to write.
  const stop = await takeStampsOf(t, 50);
  await eventually(() => stop.watcher.pressure().waitingItems === 50, 'what others write is seen');
});

/** A deployment in which ids are pending and nobody drains. */
async function takeStampsOf(t: ExecutionContext, count: number): Promise<{ watcher: Producer }> {
  const { deployment, producer: watcher } = await setUp(t);
  t.is(watcher.pressure().waitingItems, 0);
  await takeStamps(
    deployment.redis,
    deployment.keys,
    'chunk',
    itemsOf('o', count).map(({ id }) => id),
  );
  return { watcher };
}

test('I10: while Redis does not answer the pressure is critical and its age grows', async (t) => {
  const deployment = closing(t, await createDeployment(ONE_LANE));
  const proxy = closing(t, await startProxy(deployment.options.redisUrl));
  const producer = closing(t, await openProducer({ ...deployment.options, redisUrl: proxy.url }));
  t.is(producer.pressure().level, 'normal');
  proxy.freeze();
  await eventually(() => producer.pressure().level === 'critical', 'it is told');
  const { ageMs } = producer.pressure();
  await eventually(() => producer.pressure().ageMs > ageMs, 'it grows older');
  await proxy.open();
  await eventually(() => producer.pressure().level === 'normal', 'it is fresh again');
});

test('bytes of chunks that an older worker settled are swept', async (t) => {
  const { deployment, producer } = await setUp(t);
  const { redis, keys } = deployment;
  await producer.submitMany(itemsOf('kept', 3));
  const kept = await notes(deployment);
  await takeStamps(redis, keys, 'old', ['a'], {
    bytes: 1000,
    refusedFrom: 0,
    limits: { maxWaitingItems: 1, maxWaitingBytes: 1, maxMemoryShare: 1 },
  });
  await redis.zrem(keys.inflight, 'old');
  await redis.hdel(keys.pending, 'a');
  await sweepBytes(redis, keys);
  t.deepEqual(await notes(deployment), kept);
});

test('a store reads on while its queue is full, and makes nothing that it could not keep', async (t) => {
  const { deployment, producer, drain } = await setUp(t, { maxWaitingItems: 5 });
  const store = await openStore(deployment.options);
  try {
    await store.submitMany(itemsOf('s', 5));
    t.is((await store.getOrInsertWith('s.1', () => 'other')).content, 'x'.repeat(8));
    await t.throwsAsync(
      store.getOrInsertWith('new', () => 'made'),
      { instanceOf: BackpressureError },
    );
    t.is(await store.get('new'), undefined);
    await drain();
    t.is((await insist(() => store.getOrInsertWith('new', () => 'made'))).content, 'made');
  } finally {
    await store.close();
  }
  await producer.flush();
});

test('I3, I10: a Redis without memory refuses as backpressure, keeps no half of it, and is drained all the same', async (t) => {
  const server = closing(t, await startRedisServer());
  const { deployment, producer, drain } = await setUp(t, {
    redisUrl: server.url,
    cacheRedisUrl: loadConfig().redisUrl,
  });
  const { redis } = deployment;
  await producer.submitMany(itemsOf('before', 200, 2000));
  const range = await producer.deletePrefix('before.1');
  const before = await notes(deployment);
  await redis.config('SET', 'maxmemory', '1');
  for (const call of [
    () => producer.submit({ id: 'late', content: 1 }),
    () => producer.submitMany(itemsOf('late', 700)),
    () => producer.delete('before.2'),
    () => producer.deletePrefix('before.2'),
  ]) {
    const error = await t.throwsAsync(call, { instanceOf: BackpressureError });
    t.is(error.limit.of, 'memory');
  }
  t.deepEqual(await notes(deployment), before);
  t.is((await readBacklog(redis, deployment.lanes)).pendingItems, 200, 'how full it is can be asked');
  t.is(producer.pressure().level, 'critical');
  // The feed is read on from wherever it broke off.
  const late = await openProducer(deployment.options);
  await late.close();

  // Workers that start now and have nothing in hand.
  await drain();
  t.is((await range.settled({ timeoutMs: 30_000 })).deleted, 111);
  await producer.flush({ timeoutMs: 30_000 });
  t.deepEqual(await notes(deployment), NO_NOTES);
  await redis.config('SET', 'maxmemory', '0');
  const ticket = await insist(() => producer.submit({ id: 'late', content: 1 }));
  t.is((await ticket.settled()).status, 'applied');
});

test('I10: L2 copies alone do not fill a Redis that they share with the queue', async (t) => {
  const server = closing(t, await startRedisServer());
  const { deployment, producer, drain } = await setUp(t, { redisUrl: server.url });
  const { redis, pool } = deployment;
  const used = Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
  // Copies of all would take twice as much.
  await redis.config('SET', 'maxmemory', String(2 * used + 20_000_000));
  await drain();
  for (let i = 0; i < 100; i++) {
    await producer.submitMany(itemsOf(`part${i}`, 100, 4000));
    await producer.flush({ timeoutMs: 30_000 });
  }
  t.not(producer.pressure().level, 'critical');
  const { rows } = await pool.query<{ n: string }>('SELECT count(*) AS n FROM items');
  t.is(Number(rows[0]?.n), 10_000);
  const reader = closing(t, await openReader(deployment.options));
  const items = await reader.getMany(['part0.1', 'part99.99']);
  t.true(items.every((item) => item !== undefined));
});

test('I10: notes whose job met a full Redis are taken back', async (t) => {
  const server = closing(t, await startRedisServer());
  const { deployment, producer } = await setUp(t, { redisUrl: server.url, admission: false });
  const { redis, keys } = deployment;
  await producer.submitMany(itemsOf('kept', 3));
  const before = await notes(deployment);
  // So little is free that there is room for stamps and not for the jobs.
  const used = Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
  await redis.config('SET', 'maxmemory', String(used + 400_000));
  let refused = 0;
  for (let i = 0; i < 40; i++) {
    const calls = await Promise.allSettled(
      Array.from({ length: 4 }, (_, c) =>
        producer.submit({ id: `big.${i}.${c}`, content: 'x'.repeat(100_000) }),
      ),
    );
    for (const call of calls) {
      if (call.status === 'rejected') refused++;
      if (call.status === 'rejected') t.true(call.reason instanceof BackpressureError, String(call.reason));
    }
    await sleep(20);
  }
  t.true(refused > 0);
  const { items } = await waitingNow(redis, keys);
  const jobs = await redis.llen(`${keys.queuePrefix}:writes:wait`);
  const after = await notes(deployment);
  t.is(after.inflight, jobs, 'what is in flight has a job');
  t.is(items - before.pending, 160 - refused, 'what is pending was accepted');
});

test('I10: a worker takes no further chunk while it holds as many bytes as it may', async (t) => {
  const { deployment, producer, drain } = await setUp(t, { drainMaxBytes: 1_000_000 });
  const { pool, redis, keys } = deployment;
  const active = () => redis.llen(`${keys.queuePrefix}:writes:active`);
  const writer = await pool.connect();
  try {
    await writer.query('BEGIN');
    await writer.query('LOCK TABLE items IN EXCLUSIVE MODE');
    await producer.submitMany(itemsOf('large', 12, 400_000));
    await drain();
    await eventually(async () => (await active()) === 2, 'as many are taken as fit');
    // Small ones come after them: the worker must not have taken more meanwhile.
    await producer.submitMany(itemsOf('small', 3));
    t.is(await active(), 2);
  } finally {
    await writer.query('ROLLBACK');
    writer.release();
  }
  await producer.flush();
  const { rows } = await pool.query<{ n: string }>('SELECT count(*) AS n FROM items');
  t.is(Number(rows[0]?.n), 15);
});
