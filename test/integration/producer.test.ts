import { Queue } from 'bullmq';
import test, { type ExecutionContext } from 'ava';
import { ClosedError, QueueLostError, SettleTimeoutError } from '../../src/errors.ts';
import { WRITES_QUEUE } from '../../src/keys.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import type { Options } from '../../src/config.ts';
import type { NewItem } from '../../src/types/write.ts';
import { type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { refusePoison } from '../helpers/poison.ts';
import { createSetting } from '../helpers/setting.ts';
import { countExisting } from '../helpers/redis-keys.ts';

async function setUp(t: ExecutionContext, options: Options = {}) {
  const setting = await createSetting(t, options);
  return { ...setting, producer: setting.use(await openProducer(setting.deployment.options)) };
}

async function contentOf(deployment: Deployment, id: string): Promise<unknown> {
  const rows = await deployment.query<{ content: unknown }>(
    'SELECT content FROM items WHERE id = $1 AND NOT deleted',
    [id],
  );
  return rows[0]?.content;
}

/** An item whose content has that many bytes. */
function itemOf(bytes: number): NewItem {
  return { id: `${bytes}`, content: 'x'.repeat(bytes - 2) };
}

/** Thirty items; the one at `bad` is refused by Postgres. */
function poisoned(from: number, bad: number): NewItem[] {
  return Array.from({ length: 30 }, (_, i) => ({
    id: `d.${from + i}`,
    content: i === bad ? 'poison' : 'good',
  }));
}

test('tickets tell what became of each write: applied, superseded, missing', async (t) => {
  const { producer, drain } = await setUp(t);
  const early = await producer.setState('unborn', 'open');
  const first = await producer.submit({ id: 'a', content: 1 });
  const second = await producer.submit({ id: 'a', content: 2 });
  const state = await producer.setState('a', 'open');
  await drain();
  t.deepEqual(await early.settled(), { status: 'missing', version: early.version });
  t.deepEqual(await first.settled(), { status: 'superseded', version: state.version });
  t.is((await second.settled()).status, 'applied');
  t.is((await state.settled()).status, 'applied');
  const gone = await producer.delete('a');
  t.deepEqual(await gone.settled(), { status: 'applied', version: gone.version });
  t.is((await (await producer.setState('a', 'closed')).settled()).status, 'missing');
  t.is((await (await producer.delete('never')).settled()).status, 'applied');
});

test('a thousand submits at once make a few jobs, and each its own ticket', async (t) => {
  const { deployment, producer, drain } = await setUp(t);
  const tickets = await Promise.all(
    Array.from({ length: 1000 }, (_, i) => producer.submit({ id: `k.${i}`, content: i })),
  );
  t.true((await jobs(deployment)) <= 10, 'chunks of up to 500 items');
  t.is(new Set(tickets.map(({ version }) => version)).size, 1000);
  await drain();
  const outcomes = await Promise.all(tickets.map((ticket) => ticket.settled()));
  t.true(outcomes.every(({ status }) => status === 'applied'));
});

test('a chunk ends at its bytes, and a larger item is a chunk of its own', async (t) => {
  const { deployment, producer } = await setUp(t, { ...ONE_LANE, chunkMaxBytes: 1000 });
  await producer.submitMany([itemOf(400), itemOf(500), itemOf(300), itemOf(5000), itemOf(600), itemOf(200)]);
  t.deepEqual(await chunkIds(deployment), ['400,500', '300', '5000', '600,200']);
});

test('I1: what one producer submits after another has resolved wins', async (t) => {
  const { deployment, producer, drain, use } = await setUp(t);
  const other = use(await openProducer(deployment.options));
  const versions: number[] = [];
  for (let i = 0; i < 50; i++) {
    const ticket = await (i % 2 === 0 ? producer : other).submit({ id: 'shared', content: i });
    versions.push(ticket.version);
  }
  t.deepEqual(
    versions,
    versions.toSorted((a, b) => a - b),
  );
  await drain();
  await producer.flush();
  await other.flush();
  t.is(await contentOf(deployment, 'shared'), 49);
});

test('flush waits for everything this process submitted, also for calls not yet answered', async (t) => {
  const { deployment, producer, drain } = await setUp(t);
  await drain();
  const calls = Array.from({ length: 300 }, (_, i) => producer.submit({ id: `f.${i}`, content: i }));
  await producer.flush();
  t.is((await deployment.query('SELECT FROM items')).length, 300);
  await Promise.all(calls);
});

test('waiting has its bounds: timeoutMs and the signal free the caller, and the write goes on', async (t) => {
  const { producer, drain } = await setUp(t);
  const ticket = await producer.submit({ id: 'a', content: 1 });
  await t.throwsAsync(ticket.settled({ timeoutMs: 20 }), { instanceOf: SettleTimeoutError });
  await t.throwsAsync(producer.flush({ timeoutMs: 20 }), { instanceOf: SettleTimeoutError });
  const controller = new AbortController();
  const waiting = ticket.settled({ signal: controller.signal });
  controller.abort(new Error('enough'));
  await t.throwsAsync(waiting, { message: 'enough' });
  await t.throwsAsync(producer.submit({ id: 'a', content: 2 }, { signal: controller.signal }), {
    message: 'enough',
  });
  await drain();
  t.is((await ticket.settled()).status, 'applied');
});

test('submitMany of 5,000 and deleteMany of half, in input order', async (t) => {
  const { deployment, producer, drain } = await setUp(t);
  await drain();
  const ids = Array.from({ length: 5000 }, (_, i) => `m.${i}`);
  const batch = await producer.submitMany(ids.map((id) => ({ id, content: id })));
  t.deepEqual(
    batch.tickets.map(({ id }) => id),
    ids,
  );
  t.is((await batch.settled()).succeeded, 5000);
  const deleted = await producer.deleteMany(ids.slice(0, 2500));
  t.is((await deleted.settled()).succeeded, 2500);
  const rows = await deployment.query<{ deleted: boolean }>('SELECT deleted FROM items');
  t.is(rows.length, 5000);
  t.is(rows.filter(({ deleted }) => deleted).length, 2500);
});

test('I9: what Postgres refuses is dead with its reason; atomic chunks die whole; all others live and all settles', async (t) => {
  const { deployment, producer, drain } = await setUp(t, { ...ONE_LANE, chunkMaxItems: 10 });
  const { pool, redis, keys } = deployment;
  await refusePoison(pool);

  const older = await producer.submit({ id: 'd.7', content: 'older and good' });
  const plain = await producer.submitMany(poisoned(0, 7));
  const atomic = await producer.submitMany(poisoned(100, 3), { atomic: true });
  const sound = await producer.submitMany(poisoned(200, -1), { atomic: true });
  await drain();

  const { outcomes, succeeded, failed } = await plain.settled();
  t.deepEqual([succeeded, failed], [29, 1]);
  t.is(outcomes[7]?.status, 'dead');
  t.is(outcomes[7]?.version, plain.tickets[7]?.version);
  t.regex(outcomes[7]?.reason ?? '', /no poison here/);
  t.is((await older.settled()).status, 'applied', 'a refused newer write does not take an older one with it');
  t.is((await atomic.settled()).failed, 30);
  t.is((await sound.settled()).succeeded, 30);
  await producer.flush();

  t.is(await contentOf(deployment, 'd.7'), 'older and good');
  const { rows } = await pool.query<{ item_id: string; sqlstate: string; message: string; payload: string }>(
    'SELECT item_id, sqlstate, message, payload FROM dead_letters ORDER BY stamp',
  );
  t.deepEqual(
    rows.map((row) => row.item_id),
    ['d.7', ...poisoned(100, 3).map(({ id }) => id)],
  );
  t.true(rows.every(({ sqlstate, message }) => sqlstate === '23514' && message === 'no poison here'));
  t.like(JSON.parse(rows[0]?.payload ?? '{}'), {
    id: 'd.7',
    kind: 'putJson',
    body: '"poison"',
    stamp: plain.tickets[7]?.version,
  });
  t.is(Number((await pool.query<{ n: number }>('SELECT count(*) AS n FROM items')).rows[0]?.n), 60);
  t.is(await countExisting(redis, [keys.item('d.103'), keys.item('d.110')]), 0);
  t.is(await redis.zcard(keys.inflight), 0);
  t.is(await redis.hlen(keys.pending), 0);
});

test('I9: a job that is no chunk goes to dead_letters and holds nobody up', async (t) => {
  const { deployment, producer, drain } = await setUp(t);
  const queue = new Queue(WRITES_QUEUE, {
    connection: deployment.redis,
    prefix: deployment.keys.queuePrefix,
  });
  await queue.add('chunk', { what: 'is this' }, { jobId: 'stranger' });
  const ticket = await producer.submit({ id: 'a', content: 1 });
  await drain();
  t.is((await ticket.settled()).status, 'applied');
  await eventually(async () => {
    const rows = await deployment.query<{ item_id: string }>('SELECT item_id FROM dead_letters');
    return rows[0]?.item_id === 'job:stranger';
  }, 'the stranger is kept');
  await queue.close();
});

test('outcomes are told also when the feed was trimmed before they were read', async (t) => {
  const { deployment, producer, drain } = await setUp(t);
  const { redis, keys } = deployment;
  const missing = await producer.setState('unborn', 'open');
  const applied = await producer.submit({ id: 'a', content: 1 });
  const settled = Promise.all([missing.settled(), applied.settled()]);
  // Trims before the producer's tail can see an entry: every entry is gone as soon as it is written.
  const end = new AbortController();
  t.teardown(() => end.abort());
  const trim = (async () => {
    while (!end.signal.aborted) await redis.xtrim(keys.feed, 'MAXLEN', 0);
  })();
  await drain();
  const outcomes = await settled;
  end.abort();
  await trim;
  t.deepEqual(
    outcomes.map(({ status }) => status),
    ['missing', 'applied'],
  );
});

test('I8: writes queued in a Redis that was emptied are lost, and never called applied', async (t) => {
  const { deployment, producer, drain } = await setUp(t);
  const ticket = await producer.submit({ id: 'a', content: 1 });
  const [settled, flushed] = [ticket.settled(), producer.flush()];
  await deployment.emptyRedis();
  await drain();
  await t.throwsAsync(settled, { instanceOf: QueueLostError });
  await t.throwsAsync(flushed, { instanceOf: QueueLostError });
  t.is(await contentOf(deployment, 'a'), undefined);
  const again = await producer.submit({ id: 'a', content: 2 });
  t.is((await again.settled()).status, 'applied');
  t.is(await contentOf(deployment, 'a'), 2);
});

test('I1: an emptied Redis gives no stamp below what Postgres has', async (t) => {
  const { deployment, producer, drain } = await setUp(t, ONE_LANE);
  await drain();
  const future = Date.now() * 1000 + 3_600_000_000;
  await deployment.redis.hset(deployment.keys.clock, 'last', future);
  await (await producer.submit({ id: 'a', content: 'before' })).settled();
  await deployment.emptyRedis();
  // The first batch after the loss finds the clock unraised, and raises it.
  await (await producer.submit({ id: 'other', content: 1 })).settled();
  await eventually(
    async () => (await deployment.redis.hexists(deployment.keys.clock, 'raised')) === 1,
    'the clock is raised',
  );
  const after = await producer.submit({ id: 'a', content: 'after' });
  t.true(after.version > future);
  t.is((await after.settled()).status, 'applied');
});

test('close sends what is gathered, frees who waits, and refuses what comes later', async (t) => {
  const { deployment, producer, drain } = await setUp(t);
  const submitting = producer.submit({ id: 'a', content: 1 });
  const closing = producer.close();
  const ticket = await submitting;
  const settled = t.throwsAsync(ticket.settled(), { instanceOf: ClosedError });
  await closing;
  await settled;
  await t.throwsAsync(producer.submit({ id: 'b', content: 1 }), { instanceOf: ClosedError });
  await t.throwsAsync(producer.flush(), { instanceOf: ClosedError });
  await producer.close();
  await drain();
  await eventually(async () => (await contentOf(deployment, 'a')) === 1, 'the accepted write goes on');
});

test('tiers: a cache write is in L2 alone, for ttlMs; a durable write in L3 alone, over older copies', async (t) => {
  const { deployment, producer, drain } = await setUp(t);
  const { redis, keys } = deployment;
  await drain();
  const cache = await producer.submit({ id: 'c', content: 1 }, { tiers: 'cache', ttlMs: 60_000 });
  t.is((await cache.settled()).status, 'applied');
  t.is(await contentOf(deployment, 'c'), undefined);
  t.regex((await redis.get(keys.item('c'))) ?? '', /^1j/);
  const life = await redis.pttl(keys.item('c'));
  t.true(life > 0 && life <= 60_000);

  await (await producer.submit({ id: 'brief', content: 1 }, { tiers: 'cache', ttlMs: 20 })).settled();
  await eventually(async () => (await redis.exists(keys.item('brief'))) === 0, 'it expires');

  await (await producer.submit({ id: 'd', content: 'copied' })).settled();
  t.is(await redis.pttl(keys.item('d')), -1);
  await (await producer.submit({ id: 'd', content: 'durable' }, { tiers: 'durable' })).settled();
  t.is(await contentOf(deployment, 'd'), 'durable');
  t.regex((await redis.get(keys.item('d'))) ?? '', /^1x[^"]*$/, 'a fence without content');

  await (await producer.submit({ id: 't', content: 1 }, { ttlMs: 60_000 })).settled();
  t.true((await redis.pttl(keys.item('t'))) > 0);
  t.is(await contentOf(deployment, 't'), 1);
});

test('pressure tells what waits, and is fresh after each write', async (t) => {
  const { producer, drain } = await setUp(t, { ...ONE_LANE, maxWaitingItems: 10 });
  t.like(producer.pressure(), { level: 'normal', ratio: 0, waitingItems: 0, waitingBytes: 0, oldestMs: 0 });
  await producer.submitMany(Array.from({ length: 7 }, (_, i) => ({ id: `p.${i}`, content: i })));
  t.like(producer.pressure(), { level: 'warn', ratio: 0.7, waitingItems: 7 });
  await producer.submitMany(Array.from({ length: 12 }, (_, i) => ({ id: `p.${i}`, content: i })));
  t.like(producer.pressure(), { level: 'critical', waitingItems: 12 });
  await drain();
  await eventually(() => producer.pressure().level === 'normal', 'it falls, though nothing is written');
});

async function jobs({ redis, keys }: Deployment): Promise<number> {
  return redis.llen(`${keys.queuePrefix}:${WRITES_QUEUE}:wait`);
}

/** The ids of each waiting chunk, oldest first. */
async function chunkIds({ redis, keys }: Deployment): Promise<string[]> {
  const prefix = `${keys.queuePrefix}:${WRITES_QUEUE}`;
  const waiting = await redis.lrange(`${prefix}:wait`, 0, -1);
  const data = await Promise.all(waiting.toReversed().map((job) => redis.hget(`${prefix}:${job}`, 'data')));
  return data.map((text) => (JSON.parse(text ?? '') as { ids: string[] }).ids.join());
}
