import test, { type ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { RANGES_QUEUE, WRITES_QUEUE } from '../../src/keys.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { createSetting } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext, options: Options = {}) {
  const setting = await createSetting(t, { ...ONE_LANE, ...options });
  return { ...setting, producer: setting.use(await openProducer(setting.deployment.options)) };
}

/** Puts a job's raw fields where BullMQ's own script would: nothing of it is checked. */
async function plant(
  { redis, keys }: Deployment,
  queue: string,
  id: string | Buffer,
  fields: Readonly<Record<string, string>>,
): Promise<void> {
  const base = `${keys.queuePrefix}:${queue}:`;
  const jobKey = Buffer.concat([Buffer.from(base), Buffer.from(id)]);
  if (Object.keys(fields).length > 0) await redis.hset(jobKey, fields);
  await redis.lpush(`${base}wait`, id);
  await redis.zadd(`${base}marker`, 0, '0');
}

interface StoredLetter {
  readonly item_id: string;
  readonly chunk_id: string;
  readonly message: string;
  readonly payload: string;
}

async function letters({ pool }: Deployment): Promise<StoredLetter[]> {
  const { rows } = await pool.query<StoredLetter>(
    'SELECT item_id, chunk_id, message, payload FROM dead_letters ORDER BY seq',
  );
  return rows;
}

/** Jobs that nobody waits for any more: BullMQ keeps none that are done. */
async function jobsLeft({ redis, keys }: Deployment, queue: string): Promise<number> {
  const base = `${keys.queuePrefix}:${queue}:`;
  const [lists, sets] = await Promise.all([
    Promise.all(['wait', 'active', 'paused'].map((list) => redis.llen(base + list))),
    Promise.all(['delayed', 'failed', 'completed', 'prioritized'].map((set) => redis.zcard(base + set))),
  ]);
  return [...lists, ...sets].reduce((sum, count) => sum + count, 0);
}

const valid = { name: 'chunk', opts: '{"attempts":3}', timestamp: '1', delay: '0', priority: '0' };
const deep = 200_000;

const ODD: readonly (readonly [
  name: string,
  id: string,
  fields: Readonly<Record<string, string>>,
  payload: string,
])[] = [
  ['data that is not JSON', 'no-json', { ...valid, data: '{"v":1,' }, JSON.stringify('{"v":1,')],
  ['data with NUL that is not JSON', 'nul', { ...valid, data: 'a\0b' }, JSON.stringify('a\0b')],
  ['null as data', 'null', { ...valid, data: 'null' }, 'null'],
  ['a text as data', 'text', { ...valid, data: '"text"' }, '"text"'],
  [
    'a number that JavaScript cannot hold',
    'number',
    { ...valid, data: '[1e400,9007199254740993]' },
    '[1e400,9007199254740993]',
  ],
  [
    'a huge text as data',
    'huge',
    { ...valid, data: `"${'x'.repeat(8_000_000)}"` },
    `"${'x'.repeat(8_000_000)}"`,
  ],
  [
    'nesting without end',
    'deep',
    { ...valid, data: '['.repeat(deep) + ']'.repeat(deep) },
    '['.repeat(deep) + ']'.repeat(deep),
  ],
  ['no data', 'no-data', valid, '{}'],
  ['no fields at all', 'no-fields', {}, '{}'],
  ['an id with NUL', 'a\0b', { ...valid, data: '{"a":1}' }, '{"a":1}'],
  ['an empty id', '', { ...valid, data: '{"a":1}' }, '{"a":1}'],
  ['an id of 100 KB', 'i'.repeat(100_000), { ...valid, data: '{"a":1}' }, '{"a":1}'],
  ['an id of NUL and a data that is none', '\0', { ...valid, data: '{' }, '"{"'],
];

for (const queue of [WRITES_QUEUE, RANGES_QUEUE]) {
  test(`I9: jobs that no producer of ours wrote go to dead_letters and the ${queue} queue goes on`, async (t) => {
    const { deployment, producer, drain } = await setUp(t);
    for (const [, id, fields] of ODD) await plant(deployment, queue, id, fields);
    const put = await producer.submit({ id: 'good', content: 1 });
    const range = await producer.deletePrefix('nothing.');
    await drain();
    t.is((await put.settled()).status, 'applied');
    t.is((await range.settled()).deleted, 0);
    await eventually(async () => (await jobsLeft(deployment, queue)) === 0, 'no job is left');
    t.is(await deployment.redis.zcard(deployment.keys.inflight), 0);

    const kept = await letters(deployment);
    t.is(kept.length, ODD.length);
    for (const [name, id, , payload] of ODD) {
      const of = kept.filter(({ item_id: item }) => item === `job:${id}`);
      const matching = (of.length > 0 ? of : kept).filter((letter) => letter.payload === payload);
      t.true(matching.length > 0, `kept as it was: ${name}`);
    }
    for (const { item_id: item, chunk_id: chunk, message } of kept) {
      t.true(item.startsWith('job:'));
      t.true(Buffer.byteLength(item) < 300 && Buffer.byteLength(chunk) < 300, item);
      t.true(Buffer.byteLength(message) <= 1024, item);
    }
  });
}

for (const queue of [WRITES_QUEUE, RANGES_QUEUE]) {
  test(`I9: a job of the ${queue} queue that BullMQ cannot fetch is refused when it has stalled`, async (t) => {
    const { deployment, producer, drain } = await setUp(t, { chunkLockMs: 1000 });
    for (const field of ['opts', 'progress', 'parent']) {
      for (const text of ['{', 'null']) {
        await plant(deployment, queue, `${field} ${text}`, { ...valid, data: '[]', [field]: text });
      }
    }
    const put = await producer.submit({ id: 'good', content: 1 });
    const range = await producer.deletePrefix('nothing.');
    await drain();
    t.is((await put.settled()).status, 'applied');
    t.is((await range.settled()).deleted, 0);
    await eventually(async () => (await jobsLeft(deployment, queue)) === 0, 'no job is left');
    t.is((await letters(deployment)).length, 6);
  });
}

test('I9: two jobs with odd ids of the same beginning are two letters', async (t) => {
  const { deployment, drain } = await setUp(t);
  for (const end of ['a', 'b']) {
    await plant(deployment, WRITES_QUEUE, 'i'.repeat(5000) + end, { ...valid, data: `"${end}"` });
  }
  await drain();
  await eventually(async () => (await jobsLeft(deployment, WRITES_QUEUE)) === 0, 'no job is left');
  t.deepEqual((await letters(deployment)).map(({ payload }) => payload).toSorted(), ['"a"', '"b"']);
});

test('I10: the reason of a refused chunk of 200,000 bad elements is of 1 KB, in the table and on the feed', async (t) => {
  const { deployment, producer, drain } = await setUp(t);
  const bad = Array.from({ length: 200_000 }, () => 7);
  const data = JSON.stringify({
    v: 1,
    first: 1,
    ids: bad,
    kinds: 'j',
    bodies: bad,
    hashes: bad,
    states: bad,
  });
  await plant(deployment, WRITES_QUEUE, 'bad', { ...valid, data });
  const put = await producer.submit({ id: 'good', content: 1 });
  await drain();
  t.is((await put.settled()).status, 'applied');
  await eventually(async () => (await letters(deployment)).length === 1, 'it is kept');
  const [letter] = await letters(deployment);
  t.true(letter?.payload === data);
  const told = letter?.message ?? '';
  t.true(Buffer.byteLength(told) <= 1024);
  t.regex(told, /ids/);
  await eventually(async () => (await jobsLeft(deployment, WRITES_QUEUE)) === 0, 'no job is left');
  const entries = await deployment.redis.xrange(deployment.keys.feed, '-', '+');
  t.true(
    entries.some(([, fields]) => fields.join('').includes('refused')),
    'the refusal is on the feed',
  );
  for (const [, fields] of entries) t.true(Buffer.byteLength(fields.join('')) < 4096);
});

test('I10: why Postgres refused an operation is told in 1 KB, in the table and by the ticket', async (t) => {
  const { deployment, producer, drain } = await setUp(t);
  await deployment.pool.query(`
    CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION '%', repeat('ä', 100000); END $$;
    CREATE TRIGGER complain BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION complain()`);
  const ticket = await producer.submit({ id: 'a', content: 1 });
  await drain();
  const { status, reason = '' } = await ticket.settled();
  t.is(status, 'dead');
  t.true(Buffer.byteLength(reason) <= 1024);
  t.true(reason.isWellFormed() && reason.startsWith('ää'));
  const [letter] = await letters(deployment);
  t.is(letter?.message, reason);
});

test('I9: a refusal waits for a Postgres that is away', async (t) => {
  const { deployment, drain } = await setUp(t);
  await deployment.pool.query('ALTER TABLE dead_letters RENAME TO dead_letters_away');
  // One attempt, as a foreign job has: were it to fail, the queue would not try it again.
  await plant(deployment, WRITES_QUEUE, 'stranger', { ...valid, opts: '{}', data: '{"a":1}' });
  await drain();
  const base = `${deployment.keys.queuePrefix}:${WRITES_QUEUE}:`;
  await eventually(async () => (await deployment.redis.llen(`${base}wait`)) === 0, 'a worker has it');
  await eventually(async () => {
    const { rows } = await deployment.pool.query<{ n: number }>(
      'SELECT xact_rollback AS n FROM pg_stat_database WHERE datname = current_database()',
    );
    return (rows[0]?.n ?? 0) > 0;
  }, 'Postgres has refused the letter');
  await deployment.pool.query('ALTER TABLE dead_letters_away RENAME TO dead_letters');
  await eventually(async () => (await letters(deployment)).length === 1, 'the letter is kept');
  t.like(await letters(deployment), [{ item_id: 'job:stranger', payload: '{"a":1}' }]);
});
