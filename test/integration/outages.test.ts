import test, { type ExecutionContext } from 'ava';
import { type DrainWorker, startDrain } from '../../src/drain/start-drain.ts';
import { QueueUnavailableError, TierUnavailableError } from '../../src/errors.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import type { Options } from '../../src/config.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Producer } from '../../src/types/write.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { type Proxy, startProxy } from '../helpers/proxy.ts';
import { startWorker } from '../helpers/worker-process.ts';

// One after another: what is bounded in time here must not wait for the other tests.

interface Setting {
  readonly deployment: Deployment;
  readonly redis: Proxy;
  readonly postgres: Proxy;
  /** Options that lead through the proxies. */
  readonly proxied: Options;
  /** Environment of worker processes that leads through the proxies. */
  readonly env: NodeJS.ProcessEnv;
  /** Closes it when the test ends. */
  use<T extends { close(): Promise<unknown> }>(thing: T): T;
}

async function setUp(t: ExecutionContext, options: Options = {}): Promise<Setting> {
  const deployment = await createDeployment({ ...ONE_LANE, ...options });
  const redis = await startProxy(deployment.options.redisUrl);
  const postgres = await startProxy(deployment.options.databaseUrl);
  const things: { close(): Promise<unknown> }[] = [];
  t.teardown(async () => {
    await redis.open();
    await postgres.open();
    for (const thing of things) await thing.close();
    await redis.close();
    await postgres.close();
    await deployment.close();
  });
  return {
    deployment,
    redis,
    postgres,
    proxied: { ...deployment.options, redisUrl: redis.url, databaseUrl: postgres.url },
    env: { ...deployment.env, REDIS_URL: redis.url, DATABASE_URL: postgres.url },
    use(thing) {
      things.push(thing);
      return thing;
    },
  };
}

/** Long enough to open on a busy machine, short enough to wait for. */
const REFUSES_EARLY: Options = { enqueueTimeoutMs: 1500 };

const AWAY = [
  ['down', (backend: Proxy) => backend.refuse()],
  ['frozen', async (backend: Proxy) => backend.freeze()],
] as const;

const items = (name: string, count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: `${name}.${i}`, content: i }));

async function rowCount({ pool }: Deployment): Promise<number> {
  const { rows } = await pool.query<{ n: number }>('SELECT count(*) AS n FROM items WHERE NOT deleted');
  return rows[0]?.n ?? 0;
}

async function leftOver({ redis, keys }: Deployment): Promise<object> {
  return { inflight: await redis.zcard(keys.inflight), pending: await redis.hlen(keys.pending) };
}

/** The producer's own reconnection has its pauses. */
async function submitsAgain(producer: Producer, id: string): Promise<void> {
  await eventually(async () => {
    try {
      await producer.submit({ id, content: 'again' });
      return true;
    } catch (error) {
      if (!(error instanceof QueueUnavailableError)) throw error;
      return false;
    }
  }, 'submits are taken again');
}

test.serial('I8: opening anything while Redis is away fails by name and in time', async (t) => {
  const { deployment, redis } = await setUp(t, REFUSES_EARLY);
  await redis.refuse();
  const options = { ...deployment.options, redisUrl: redis.url };
  const end = new AbortController();
  const patient = openProducer({ ...options, enqueueTimeoutMs: 20_000, signal: end.signal });
  const opening = t.throwsAsync(openProducer(options), {
    instanceOf: QueueUnavailableError,
    code: 'ERR_QUEUE_UNAVAILABLE',
  });
  const first = await Promise.race([
    opening.then(() => 'early'),
    patient.then(
      () => 'patient',
      () => 'patient',
    ),
  ]);
  t.is(first, 'early', 'enqueueTimeoutMs bounds it');
  end.abort();
  await opening;
  await t.throwsAsync(openStore(options), { instanceOf: QueueUnavailableError });
  await t.throwsAsync(openReader(options), { instanceOf: TierUnavailableError });
  await t.throwsAsync(startDrain(options), { instanceOf: QueueUnavailableError });
});

test.serial('I8: opening while Redis or Postgres is frozen fails by name', async (t) => {
  const { proxied, redis, postgres } = await setUp(t, REFUSES_EARLY);
  redis.freeze();
  await t.throwsAsync(openProducer(proxied), { instanceOf: QueueUnavailableError });
  await redis.open();
  postgres.freeze();
  await t.throwsAsync(openReader(proxied), { instanceOf: TierUnavailableError });
  await t.throwsAsync(startDrain(proxied), { instanceOf: TierUnavailableError });
});

test.serial('I8: opening while Postgres is away fails by name, for those who need it', async (t) => {
  const { proxied, postgres, use } = await setUp(t);
  await postgres.refuse();
  await t.throwsAsync(openReader(proxied), {
    instanceOf: TierUnavailableError,
    code: 'ERR_TIER_UNAVAILABLE',
  });
  await t.throwsAsync(openStore(proxied), { instanceOf: TierUnavailableError });
  await t.throwsAsync(startDrain(proxied), { instanceOf: TierUnavailableError });
  const producer = use(await openProducer(proxied));
  await producer.submit({ id: 'a', content: 1 });
});

for (const [how, takeAway] of AWAY) {
  test.serial(
    `I8: submits while Redis is ${how} are refused and not accepted; afterwards all is well again`,
    async (t) => {
      const { deployment, proxied, redis, use } = await setUp(t, REFUSES_EARLY);
      const producer = use(await openProducer(proxied));
      await takeAway(redis);
      await t.throwsAsync(producer.submit({ id: 'a', content: 1 }), { instanceOf: QueueUnavailableError });
      await t.throwsAsync(producer.submitMany(items('m', 2000)), { instanceOf: QueueUnavailableError });
      await t.throwsAsync(producer.delete('a'), { instanceOf: QueueUnavailableError });
      await redis.open();
      await submitsAgain(producer, 'after');
      use(await startDrain(deployment.options));
      await producer.flush();
      const { rows } = await deployment.pool.query(`SELECT id FROM items WHERE id = 'after'`);
      t.deepEqual(rows, [{ id: 'after' }]);
    },
  );
}

for (const [how, takeAway] of AWAY) {
  test.serial(`I12: a producer, a reader and a store close while Redis is ${how}`, async (t) => {
    const { proxied, redis } = await setUp(t);
    const opened = [await openProducer(proxied), await openReader(proxied), await openStore(proxied)];
    await takeAway(redis);
    for (const thing of opened)
      t.is(await Promise.race([thing.close().then(() => 'closed'), after(5000)]), 'closed');
  });
}

test.serial(
  'I3 I8: while Postgres is away the worker waits: nothing is lost, counted or told, and all settles when it is back',
  async (t) => {
    const { deployment, proxied, postgres, use } = await setUp(t);
    const producer = use(await openProducer(deployment.options));
    use(await startDrain(proxied));
    await (await producer.submit({ id: 'before', content: 1 })).settled();
    await postgres.refuse();
    const batch = await producer.submitMany(items('w', 3000));
    await t.throwsAsync(batch.settled({ timeoutMs: 500 }), { code: 'ERR_SETTLE_TIMEOUT' });
    t.is(await rowCount(deployment), 1);
    t.is(await deployment.redis.hlen(deployment.keys.pending), 3000);
    t.is(await deployment.redis.exists(deployment.keys.item('w.0')), 0);
    await postgres.open();
    t.is((await batch.settled()).succeeded, 3000);
    t.is(await rowCount(deployment), 3001);
    t.deepEqual(await leftOver(deployment), { inflight: 0, pending: 0 });
    t.deepEqual((await deployment.pool.query('SELECT * FROM dead_letters')).rows, []);
  },
);

test.serial('I3: connections cut again and again in the middle of batches lose nothing', async (t) => {
  const { deployment, proxied, redis, postgres, use } = await setUp(t, {
    chunkMaxItems: 50,
    batchMaxItems: 200,
    chunkLockMs: 2000,
  });
  const producer = use(await openProducer(deployment.options));
  use(await startDrain(proxied));
  const batches = [];
  for (let round = 0; round < 10; round++) {
    const batch = await producer.submitMany(items(`c.${round}`, 500));
    batches.push(batch);
    // In the middle: some of it has settled, or nothing moves because of the cut before.
    await batch.tickets[100]?.settled({ timeoutMs: 300 }).catch(() => undefined);
    if (round % 3 !== 1) redis.cut();
    if (round % 3 !== 0) postgres.cut();
  }
  for (const batch of batches) t.is((await batch.settled({ timeoutMs: 60_000 })).succeeded, 500);
  t.is(await rowCount(deployment), 5000);
  t.deepEqual(await leftOver(deployment), { inflight: 0, pending: 0 });
});

test.serial('I3: a producer whose connections are cut learns every outcome', async (t) => {
  const { deployment, proxied, redis, use } = await setUp(t, { chunkMaxItems: 20 });
  const producer = use(await openProducer(proxied));
  use(await startDrain(deployment.options));
  const tickets = [];
  for (let round = 0; round < 10; round++) {
    tickets.push(
      ...(await producer.submitMany(items(`p.${round}`, 100))).tickets,
      await producer.setState(`no.${round}`, 'open'),
    );
    redis.cut();
    await submitsAgain(producer, `again.${round}`);
  }
  const outcomes = await Promise.all(tickets.map((ticket) => ticket.settled()));
  t.is(outcomes.filter(({ status }) => status === 'applied').length, 1000);
  t.is(outcomes.filter(({ status }) => status === 'missing').length, 10);
});

for (const [how, takeAway] of AWAY) {
  for (const which of ['postgres', 'redis'] as const) {
    test.serial(
      `I12: a drain closes within its deadline while ${which} is ${how}, with work in hand`,
      async (t) => {
        const shutdownMs = 3000;
        const setting = await setUp(t, { shutdownMs, chunkLockMs: 2000 });
        const { deployment, proxied, use } = setting;
        const producer = use(await openProducer(deployment.options));
        const worker: DrainWorker = await startDrain(proxied);
        await (await producer.submit({ id: 'before', content: 1 })).settled();
        await takeAway(setting[which]);
        const batch = await producer.submitMany(items('w', 1000));
        if (which === 'postgres') {
          await eventually(
            async () => (await deployment.redis.llen(`${deployment.keys.queuePrefix}:writes:active`)) > 0,
            'work in hand',
          );
        }
        const closed = await Promise.race([worker.close().then(() => 'closed'), after(2 * shutdownMs)]);
        t.is(closed, 'closed');
        use(await startDrain(deployment.options));
        t.is((await batch.settled()).succeeded, 1000);
        t.is(await rowCount(deployment), 1001);
      },
    );
  }
}

test.serial('I12: SIGTERM while Postgres is away: exit 0, and the next worker takes the chunk', async (t) => {
  const { deployment, env, postgres, use } = await setUp(t);
  const producer = use(await openProducer(deployment.options));
  const worker = await startWorker('drain', { ...env, TIERLINE_SHUTDOWN_MS: '5000' });
  t.teardown(() => worker.stop('SIGKILL'));
  await postgres.refuse();
  const batch = await producer.submitMany(items('w', 1000));
  const active = `${deployment.keys.queuePrefix}:writes:active`;
  await eventually(async () => (await deployment.redis.llen(active)) > 0, 'the worker holds chunks');
  t.is(await worker.stop('SIGTERM'), 0);
  t.is(await deployment.redis.llen(active), 0, 'handed back, not left to stall');
  await postgres.open();
  use(await startDrain(deployment.options));
  t.is((await batch.settled()).succeeded, 1000);
  t.is(await rowCount(deployment), 1000);
});

test.serial('I3 I12: SIGTERM under load loses nothing and leaves nothing half done', async (t) => {
  const { deployment, env, use } = await setUp(t, { chunkMaxItems: 50 });
  const producer = use(await openProducer(deployment.options));
  const batches = [];
  for (let round = 0; round < 4; round++) {
    const worker = await startWorker('drain', env);
    t.teardown(() => worker.stop('SIGKILL'));
    const batch = await producer.submitMany(items(`l.${round}`, 2000));
    batches.push(batch);
    await batch.tickets[100]?.settled();
    t.is(await worker.stop('SIGTERM'), 0);
    t.is(await deployment.redis.llen(`${deployment.keys.queuePrefix}:writes:active`), 0);
  }
  use(await startDrain(deployment.options));
  for (const batch of batches) t.is((await batch.settled()).succeeded, 2000);
  t.is(await rowCount(deployment), 8000);
  t.deepEqual(await leftOver(deployment), { inflight: 0, pending: 0 });
});

test.serial('I8: a reader whose Postgres is away says so and never "absent"', async (t) => {
  const { deployment, proxied, postgres, use } = await setUp(t);
  const producer = use(await openProducer(deployment.options));
  use(await startDrain(deployment.options));
  await (await producer.submit({ id: 'a', content: 1 })).settled();
  const reader = use(await openReader(proxied));
  await postgres.refuse();
  t.is((await reader.get('a'))?.content, 1, 'L2 has it');
  await t.throwsAsync(reader.get('unknown'), { instanceOf: TierUnavailableError });
  await t.throwsAsync(reader.status('unknown'), { instanceOf: TierUnavailableError });
  await postgres.open();
  // Its breaker lets a call through again after a moment.
  const asked = async () => {
    try {
      return (await reader.get('unknown')) === undefined;
    } catch (error) {
      if (!(error instanceof TierUnavailableError)) throw error;
      return false;
    }
  };
  await eventually(asked, 'Postgres is asked again');
});

function after(ms: number): Promise<string> {
  return new Promise((resolve) => setTimeout(() => resolve(`not within ${ms} ms`), ms).unref());
}
