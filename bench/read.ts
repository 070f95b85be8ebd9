import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import pLimit from 'p-limit';
import { createLogger } from '../src/log.ts';
import { closePool, createPool, type Pool } from '../src/postgres/pool.ts';
import { raiseClock } from '../src/redis/chunk-notes.ts';
import type { IoRedis } from '../src/redis/driver.ts';
import { closeRedis } from '../src/redis/connect.ts';
import { createRedis } from '../src/redis/driver.ts';
import { connectReader } from '../src/read/open-reader.ts';
import { MemoryTier } from '../src/tiers/memory.ts';
import type { TieredReader } from '../src/read/tiered-reader.ts';
import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import { type Emit, perSecond, timed } from './metric.ts';
import { figure, inRounds } from './rounds.ts';
import { emitUsage, usageOf } from './usage.ts';

const IDS = 20_000;
const CALL = 1000;
const MGET = 500;
/** More than usual: one takes less than a second. */
const ROUNDS = 9;
/** Of a stored text whose state is `default`. */
const BODY_AT = 140;

/** A document of about 400 bytes. */
function documentOf(n: number) {
  return {
    patient: `9${String(n).padStart(9, '0')}`,
    name: { family: 'Example', given: ['Ada', 'Grace'] },
    address: { lines: ['1 High Street', 'Flat 2'], city: 'Leeds', postcode: 'LS1 4AP', country: 'GB' },
    contacts: [
      { system: 'phone', value: '0113 496 0000', use: 'home' },
      { system: 'email', value: 'ada@example.org' },
    ],
    active: n % 7 !== 0,
    visits: n,
    note: 'x'.repeat(70),
  };
}

/** Microseconds of each of `count` that `work` does. `prepare` runs before, untimed. */
export function usEach(
  count: number,
  work: () => unknown,
  prepare?: () => Promise<unknown>,
): () => Promise<number> {
  return async () => {
    await prepare?.();
    return ((await timed(work)) * 1000) / count;
  };
}

/** Hits in L1 against BentoCache; batches against the bare drivers, in the same run. */
export async function readBench(emit: Emit): Promise<void> {
  const deployment = await createDeployment();
  const { config } = deployment;
  const log = createLogger('bench', 'silent');
  const pool = createPool(config.databaseUrl, config.poolSize, log);
  const redis = createRedis(config.cacheRedisUrl ?? config.redisUrl, 'patient', log);
  await redis.connect();
  const ids = Array.from({ length: IDS }, (_, n) => `${config.namespace}.${n}`);
  // Rows that the feed never told of: a filter would deny them.
  const reader = await connectReader({ ...config, filterMaxBytes: 0 }, log);
  try {
    await insertRows(pool, ids);
    // As a drain worker does: without a clock above the rows no version would count as settled.
    await raiseClock(deployment.redis, deployment.keys, IDS);
    await reader.getMany(ids);
    await hits(emit, reader, ids);
    await fromRedis(emit, deployment, redis, ids);
    await fromPostgres(emit, deployment, pool, redis, ids);
  } finally {
    await reader.close();
    await pool.query(`DELETE FROM items WHERE id = ANY($1)`, [ids]);
    await redis.del(ids.map((id) => deployment.keys.item(id)));
    await closePool(pool);
    await closeRedis(redis);
    await deployment.close();
  }
  zipf(emit);
}

async function insertRows(pool: Pool, ids: readonly string[]): Promise<void> {
  await pool.query(
    `INSERT INTO items (id, content_version, deleted, content, content_hash, state_version, state, tombstone_week, id_hash, digest_hi, digest_lo, state_digest_hi, state_digest_lo, batch_id)
     SELECT id, n, false, content::json, sha256(content::bytea), 0, 'default', 0, 0, 0, 0, 0, 0, gen_random_uuid()
     FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS i(id, content, n)`,
    [ids, ids.map((_, n) => JSON.stringify(documentOf(n)))],
  );
  await pool.query('ANALYZE items');
}

async function hits(emit: Emit, reader: TieredReader, ids: readonly string[]): Promise<void> {
  const CALLS = 50_000;
  const hot = ids.slice(0, 1000);
  const bento = new BentoCache({
    default: 'l1',
    stores: { l1: bentostore().useL1Layer(memoryDriver({ maxItems: 10_000 })) },
  });
  for (const [n, id] of hot.entries()) await bento.set({ key: id, value: documentOf(n) });
  const us = await inRounds(
    {
      peek: usEach(CALLS, () => {
        for (let i = 0; i < CALLS; i++)
          if (reader.peek(hot[i % 1000] as string) === undefined) throw new Error('not a hit');
      }),
      get: usEach(CALLS, async () => {
        for (let i = 0; i < CALLS; i++) await reader.get(hot[i % 1000] as string);
      }),
      bento: usEach(CALLS, async () => {
        for (let i = 0; i < CALLS; i++) await bento.get({ key: hot[i % 1000] as string });
      }),
    },
    ROUNDS,
  );
  await bento.disconnectAll();
  emit(
    'peek_us',
    figure(us, ({ peek }) => peek),
    'us',
  );
  emit(
    'get_l1_us',
    figure(us, ({ get }) => get),
    'us',
  );
  emit(
    'bentocache_get_us',
    figure(us, ({ bento }) => bento),
    'us',
  );
  emit(
    'ratio_vs_bentocache',
    figure(us, ({ get, bento }) => bento / get),
    'x',
  );
}

/** Every read goes to L2: L1 keeps nothing. */
async function fromRedis(
  emit: Emit,
  deployment: Deployment,
  redis: IoRedis,
  ids: readonly string[],
): Promise<void> {
  const { config: base, keys } = deployment;
  const reader = await connectReader(
    { ...base, l1MaxBytes: 0, filterMaxBytes: 0 },
    createLogger('bench', 'silent'),
  );
  try {
    await warm(reader, ids);
    const { hits: filled } = reader.counters.l3;
    const calls = chunks(ids, CALL);
    const mget = (call: readonly string[]) =>
      Promise.all(chunks(call, MGET).map((chunk) => redis.mget(chunk.map((id) => keys.item(id)))));
    const batches = await inRounds(
      {
        ours: () =>
          usageOf(deployment, [], async () => {
            for (const call of calls) await reader.getMany(call);
          }),
        raw: () =>
          usageOf(deployment, [], async () => {
            for (const call of calls) await mget(call);
          }),
        oursParsed: usEach(IDS, async () => {
          for (const call of calls) for (const item of await reader.getMany(call)) void item?.content;
        }),
        rawParsed: usEach(IDS, async () => {
          for (const call of calls)
            for (const text of (await mget(call)).flat()) JSON.parse((text as string).slice(BODY_AT));
        }),
      },
      ROUNDS,
    );
    if (reader.counters.l3.hits > filled) throw new Error('some reads were not warm');
    emit(
      'get_many_l2_per_s',
      figure(batches, ({ ours }) => perSecond(IDS, ours.ms)),
      '1/s',
    );
    emit(
      'ratio_vs_raw_mget',
      figure(batches, ({ ours, raw }) => raw.ms / ours.ms),
      'x',
    );
    emit(
      'ratio_vs_parsed_mget',
      figure(batches, ({ oursParsed, rawParsed }) => rawParsed / oursParsed),
      'x',
    );
    const kinds = ['client_cpu_us', 'redis_cpu_us', 'redis_commands'] as const;
    const usages = (side: 'ours' | 'raw') => batches.map((round) => round[side]);
    emitUsage(emit, usages('ours'), IDS, { prefix: 'get_many_l2_', kinds });
    emitUsage(emit, usages('raw'), IDS, { prefix: 'raw_mget_', kinds });

    const wave = ids.slice(0, 10_000);
    const limit = pLimit(100);
    const singles = await inRounds(
      {
        ours: usEach(wave.length, () => Promise.all(wave.map((id) => reader.get(id)))),
        plain: usEach(wave.length, () =>
          Promise.all(wave.map((id) => limit(() => redis.get(keys.item(id))))),
        ),
      },
      ROUNDS,
    );
    emit(
      'ratio_vs_single_gets',
      figure(singles, ({ ours, plain }) => plain / ours),
      'x',
    );
  } finally {
    await reader.close();
  }
}

/** Reads until L2 has all, for filling it takes its time beside the reads. */
export async function warm(reader: TieredReader, ids: readonly string[]): Promise<void> {
  for (let before = -1; reader.counters.l3.hits > before; ) {
    before = reader.counters.l3.hits;
    await reader.getMany(ids);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Every read goes to L3: neither L1 nor L2 keeps anything. */
async function fromPostgres(
  emit: Emit,
  deployment: Deployment,
  pool: Pool,
  redis: IoRedis,
  ids: readonly string[],
): Promise<void> {
  const { config: base, keys } = deployment;
  const reader = await connectReader(
    { ...base, l1MaxBytes: 0, filterMaxBytes: 0 },
    createLogger('bench', 'silent'),
  );
  try {
    const calls = chunks(ids, CALL);
    const any = (chunk: string[]) =>
      pool.query({
        name: 'bench-any',
        text: 'SELECT id, content, content_version, state FROM items WHERE id = ANY($1)',
        values: [chunk],
      });
    const cold = (work: () => Promise<void>) => async () => {
      await redis.del(ids.map((id) => keys.item(id)));
      return usageOf(deployment, [], work);
    };
    const asked = reader.counters.l3.requests;
    const batches = await inRounds(
      {
        ours: cold(async () => {
          for (const call of calls) await reader.getMany(call);
        }),
        raw: cold(async () => {
          for (const call of calls) await Promise.all(chunks(call, MGET).map(any));
        }),
      },
      ROUNDS,
    );
    const read = (ROUNDS + 1) * IDS;
    emit(
      'get_many_l3_per_s',
      figure(batches, ({ ours }) => perSecond(IDS, ours.ms)),
      '1/s',
    );
    emit(
      'ratio_vs_raw_any',
      figure(batches, ({ ours, raw }) => raw.ms / ours.ms),
      'x',
    );
    emit('get_many_l3_statements', (reader.counters.l3.requests - asked) / read, 'statements/item');
    const kinds = ['client_cpu_us', 'postgres_cpu_us', 'redis_cpu_us', 'redis_commands'] as const;
    const usages = (side: 'ours' | 'raw') => batches.map((round) => round[side]);
    emitUsage(emit, usages('ours'), IDS, { prefix: 'get_many_l3_', kinds });
    emitUsage(emit, usages('raw'), IDS, { prefix: 'raw_any_', kinds });
  } finally {
    await reader.close();
  }
}

/** 100,000 ids under a Zipf load, L1 with room for a tenth of them. */
function zipf(emit: Emit): void {
  const COUNT = 100_000;
  const GETS = 1_000_000;
  const MAX_BYTES = 10 * 1024 * 1024;
  const weights = Array.from({ length: COUNT }, (_, rank) => 1 / (rank + 1) ** 0.99);
  const cumulated: number[] = [];
  weights.reduce((sum, weight) => (cumulated.push(sum + weight), sum + weight), 0);
  const total = cumulated[COUNT - 1] as number;
  const pick = () => {
    const at = Math.random() * total;
    let low = 0;
    for (let high = COUNT - 1; low < high; ) {
      const middle = (low + high) >> 1;
      if ((cumulated[middle] as number) < at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  const tier = new MemoryTier<string>({ maxBytes: MAX_BYTES, ttlMs: 60_000 });
  let found = 0;
  for (let i = 0; i < GETS; i++) {
    const n = pick();
    const id = `zipf.${n}`;
    if (tier.get(id) !== undefined) found++;
    else tier.set(id, JSON.stringify(documentOf(n)), 400);
  }
  emit('l1_hit_percent', (found / GETS) * 100, '%');
  emit('l1_bytes_of_bound', tier.sizeBytes / MAX_BYTES, 'x');
  globalThis.gc?.();
  emit('l1_heap_of_bound', (process.memoryUsage().heapUsed - before) / MAX_BYTES, 'x');
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );
}
