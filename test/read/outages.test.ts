import test, { type ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { TierUnavailableError } from '../../src/errors.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Reader } from '../../src/types/read.ts';
import { ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { type Proxy, startDatabaseProxy, startProxy } from '../helpers/proxy.ts';
import { createSetting } from '../helpers/setting.ts';

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** What docs/api.md says every read answers while a backend is away. */
const L2_AWAY = 'TierUnavailableError of L2';
const L3_AWAY = 'TierUnavailableError of L3';

/**
 * The ids: `l1` is in L1 and L3, `l2` in L2 and L3, `l3` in L3 only, `none` nowhere; no read but these has asked for
 * them. With the filter loaded, as after a minute of life.
 */
const READS: Record<
  string,
  { ask: (reader: Reader) => unknown; redis: unknown; postgres: unknown; both: unknown }
> = {
  'get of what is in L1': {
    ask: async (r) => (await r.get('l1'))?.content,
    redis: 1,
    postgres: 1,
    both: L3_AWAY,
  },
  'lookup of what is in L2': {
    ask: async (r) => (await r.lookup('l2')).tier,
    redis: 'l3',
    postgres: 'l2',
    both: L3_AWAY,
  },
  'get of what is in L2': {
    ask: async (r) => (await r.get('l2'))?.content,
    redis: 2,
    postgres: 2,
    both: L3_AWAY,
  },
  'get of what is in L3': {
    ask: async (r) => (await r.get('l3'))?.content,
    redis: 3,
    postgres: L3_AWAY,
    both: L3_AWAY,
  },
  'get of what is nowhere': {
    ask: (r) => r.get('none'),
    redis: undefined,
    postgres: undefined,
    both: L3_AWAY,
  },
  'getMany of all four': {
    ask: async (r) => (await r.getMany(['l1', 'l2', 'l3', 'none'])).map((i) => i?.content),
    redis: [1, 2, 3, undefined],
    postgres: L3_AWAY,
    both: L3_AWAY,
  },
  'peek of what is in L1': {
    ask: (r) => r.peek('l1')?.content,
    redis: undefined,
    postgres: 1,
    both: undefined,
  },
  'contains of what is in L2': { ask: (r) => r.contains('l2'), redis: true, postgres: true, both: L3_AWAY },
  'contains of what is in L3': {
    ask: (r) => r.contains('l3'),
    redis: true,
    postgres: L3_AWAY,
    both: L3_AWAY,
  },
  'contains of what is nowhere': {
    ask: (r) => r.contains('none'),
    redis: false,
    postgres: false,
    both: L3_AWAY,
  },
  'definitelyMissing of what is nowhere': {
    ask: (r) => r.definitelyMissing('none'),
    redis: false,
    postgres: true,
    both: false,
  },
  'mightExist of what is nowhere': {
    ask: (r) => r.mightExist('none'),
    redis: true,
    postgres: false,
    both: true,
  },
  'isCurrent of what is in L2': {
    ask: (r) => r.isCurrent('l2', 'other'),
    redis: false,
    postgres: false,
    both: L3_AWAY,
  },
  status: {
    ask: async (r) => (await r.status('l2')).status,
    redis: L2_AWAY,
    postgres: L3_AWAY,
    both: /TierUnavailableError of L[23]/,
  },
  getByState: {
    ask: async (r) => (await r.getByState('default')).items.length,
    redis: 3,
    postgres: L3_AWAY,
    both: L3_AWAY,
  },
  scanState: {
    ask: async (r) => (await collect(r.scanState('default'))).length,
    redis: 3,
    postgres: L3_AWAY,
    both: L3_AWAY,
  },
  countByState: { ask: (r) => r.countByState('default'), redis: 3, postgres: L3_AWAY, both: L3_AWAY },
  listStateIds: {
    ask: async (r) => (await r.listStateIds('default')).items,
    redis: ['l1', 'l2', 'l3'],
    postgres: L3_AWAY,
    both: L3_AWAY,
  },
  getByPrefix: {
    ask: async (r) => (await r.getByPrefix('l')).items.length,
    redis: 3,
    postgres: L3_AWAY,
    both: L3_AWAY,
  },
  scanPrefix: {
    ask: async (r) => (await collect(r.scanPrefix('l'))).length,
    redis: 3,
    postgres: L3_AWAY,
    both: L3_AWAY,
  },
  countPrefix: { ask: (r) => r.countPrefix('l'), redis: 3, postgres: L3_AWAY, both: L3_AWAY },
  health: {
    ask: async (r) => {
      const { status, queue, cache, postgres } = await r.health();
      return [status, queue.ok, cache.ok, postgres.ok];
    },
    redis: ['degraded', false, false, true],
    postgres: ['degraded', true, true, false],
    both: ['down', false, false, false],
  },
  'merkle.root': {
    ask: async (r) => (await r.merkle.root()).count,
    redis: 3,
    postgres: L3_AWAY,
    both: L3_AWAY,
  },
};

type Away = 'redis' | 'postgres' | 'both';
type Backend = Pick<Proxy, 'refuse' | 'freeze'>;
const KINDS: Record<string, (backend: Backend) => unknown> = {
  down: (backend) => backend.refuse(),
  silent: (backend) => backend.freeze(),
};

/** On a busy machine a reader of eight partitions may not make all its connections in the two seconds that it has. */
async function openedAtLast(options: Options): Promise<Reader> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await openReader(options);
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

async function setUp(t: ExecutionContext, away: Away, take: (backend: Backend) => unknown): Promise<Reader> {
  const { deployment, use, drain } = await createSetting(t);
  const redis = use(await startProxy(deployment.options.redisUrl));
  const postgres = use(await startDatabaseProxy(deployment));
  await drain();
  const reader = use(
    await openedAtLast({
      ...deployment.options,
      redisUrl: redis.url,
      ...postgres.options,
      // Short for what is away; what is there may be slow on a busy machine.
      ...(away !== 'postgres' && { l2TimeoutMs: 300 }),
      ...(away !== 'redis' && { l3TimeoutMs: 600 }),
    }),
  );
  t.teardown(async () => {
    await redis.open();
    await postgres.open();
  });
  const store = use(await openStore(deployment.options));
  await (await store.submitMany([1, 2, 3].map((n) => ({ id: `l${n}`, content: n })))).settled();
  await store.close();
  await deployment.redis.del(deployment.keys.item('l3'));
  await eventually(() => reader.definitelyMissing('none'), 'the filter is loaded');
  await reader.get('l1');
  if (away !== 'postgres') await take(redis);
  if (away !== 'redis') await take(postgres);
  // A silent Redis is noticed by the feed's watchdog; until then L1 is at most that much behind.
  if (away !== 'postgres')
    await eventually(() => reader.peek('l1') === undefined, 'the feed is out of sight');
  return reader;
}

async function answer(ask: () => unknown): Promise<unknown> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof TierUnavailableError)) throw error;
    return `TierUnavailableError of ${error.tier.toUpperCase()}`;
  }
}

for (const [kind, take] of Object.entries(KINDS)) {
  for (const away of ['redis', 'postgres', 'both'] as const) {
    const names = { redis: 'Redis is', postgres: 'Postgres is', both: 'both are' } as const;
    test(`I7 I8: what every read answers while ${names[away]} ${kind}`, async (t) => {
      const reader = await setUp(t, away, take);
      // What reads every row has no time limit: a silent Postgres holds it until the caller gives up.
      const endless = kind === 'silent' && away !== 'redis';
      for (const [name, read] of Object.entries(READS)) {
        if (endless && /^count|merkle/.test(name)) continue;
        const given = await answer(() => read.ask(reader));
        const expected = read[away];
        if (expected instanceof RegExp) t.regex(String(given), expected, name);
        else t.deepEqual(given, expected, name);
      }
    });
  }
}

test('I8: what Redis does not answer is told apart from what it does not hold', async (t) => {
  const reader = await setUp(t, 'redis', (backend) => backend.refuse());
  const before = reader.counters;
  for (let i = 0; i < 10; i++) t.like(await reader.get('l3'), { content: 3 });
  const { l1, l2, l3 } = reader.counters;
  t.is(l2.failures + l2.skipped - before.l2.failures - before.l2.skipped, 10);
  t.true(l2.skipped > before.l2.skipped, 'the breaker spares callers the wait');
  t.is(l2.hits, before.l2.hits);
  t.is(l3.hits - before.l3.hits, 10);
  t.is(l1.hits, before.l1.hits);
});

test('I7: what lives in Redis only is found again once Redis is back', async (t) => {
  const { deployment, use, drain } = await createSetting(t, ONE_LANE);
  await drain();
  const proxy = use(await startProxy(deployment.options.redisUrl));
  const producer = use(await openProducer(deployment.options));
  const reader = use(await openReader({ ...deployment.options, cacheRedisUrl: proxy.url, l2TimeoutMs: 300 }));
  await (await producer.submit({ id: 'c', content: 'v' }, { tiers: 'cache' })).settled();
  t.like(await reader.get('c'), { content: 'v' });
  await proxy.refuse();
  await reader.get('c');
  await proxy.open();
  await eventually(() => reader.contains('c'), 'Redis is back');
  t.like(await reader.get('c'), { content: 'v' });
});
