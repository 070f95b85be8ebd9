import test, { type ExecutionContext } from 'ava';
import { TierUnavailableError } from '../../src/errors.ts';
import { createPool } from '../../src/postgres/pool.ts';
import { CacheGeneration } from '../../src/redis/cache-generation.ts';
import { closeRedis, createRedis } from '../../src/redis/connect.ts';
import { ItemStore } from '../../src/redis/item-store.ts';
import { PostgresTier } from '../../src/tiers/postgres.ts';
import { CopyTier } from '../../src/tiers/copy-tier.ts';
import type { Tier } from '../../src/tiers/tier.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { chunkOf } from '../helpers/operations.ts';
import { type Proxy, startProxy } from '../helpers/proxy.ts';
import { writerOf } from '../helpers/writer.ts';

/** What every tier that is asked for many ids promises. */
const TIERS: Record<
  string,
  (deployment: Deployment) => Promise<{ tier: Tier; backend: Proxy; close(): Promise<unknown> }>
> = {
  CopyTier: async ({ config, keys, log, redis: queue }) => {
    const backend = await startProxy(config.redisUrl);
    const redis = createRedis(backend.url, 'failFast', log);
    await redis.connect();
    const generation = new CacheGeneration(redis, queue, keys, config, log);
    await generation.known(5000);
    const tier = new CopyTier(new ItemStore(redis, generation), { ...config, timeoutMs: 2000 }, log);
    return { tier, backend, close: () => closeRedis(redis).then(() => generation.close()) };
  },
  PostgresTier: async ({ config, log }) => {
    const backend = await startProxy(config.databaseUrl);
    const pool = createPool(backend.url, 2, log);
    return { tier: new PostgresTier(pool, 300), backend, close: () => pool.end() };
  },
};

async function setUp(t: ExecutionContext, name: string) {
  const deployment = await createDeployment();
  const { tier, backend, close } = await (TIERS[name] as (typeof TIERS)[string])(deployment);
  t.teardown(async () => {
    await backend.open();
    await close();
    await backend.close();
    await deployment.close();
  });
  await writerOf(deployment).write([
    chunkOf([
      { id: 'json', stamp: 10, kind: 'json', body: '{"é":"%"}', state: 'open' },
      { id: 'binary', stamp: 11, kind: 'binary', body: Buffer.alloc(100, 7).toString('base64') },
      { id: 'deleted', stamp: 12, kind: 'delete' },
    ]),
  ]);
  return { deployment, tier, backend };
}

for (const name of Object.keys(TIERS)) {
  test(`${name}: answers in the order of the ids, tombstones included, undefined where it knows nothing`, async (t) => {
    const { tier } = await setUp(t, name);
    const answers = await tier.getMany(['nobody', 'binary', 'deleted', 'json', 'binary']);
    t.deepEqual(
      answers.map((answer) => answer?.kind),
      [undefined, 'binary', 'deleted', 'json', 'binary'],
    );
    t.like(answers[3], {
      id: 'json',
      body: '{"é":"%"}',
      state: 'open',
      contentVersion: 10,
      stateVersion: 10,
      tiers: 'all',
    });
    t.like(answers[1], { body: Buffer.alloc(100, 7).toString('base64'), state: 'default', stateVersion: 0 });
    t.like(answers[2], { contentVersion: 12, stateVersion: 12, contentHash: '', body: '' });
    t.deepEqual(await tier.getMany([]).catch(() => []), []);
  });

  test(`${name}: I2: both tiers hold the same image of a row`, async (t) => {
    const { deployment, tier } = await setUp(t, name);
    const rows = new PostgresTier(deployment.pool, 1000);
    const ids = ['json', 'binary', 'deleted'];
    t.deepEqual(await tier.getMany(ids), await rows.getMany(ids));
  });

  test(`${name}: I7 I8: a backend that cannot be asked is an error, down or silent, and not an answer`, async (t) => {
    const { tier, backend } = await setUp(t, name);
    backend.freeze();
    await t.throwsAsync(tier.getMany(['json']), { instanceOf: TierUnavailableError });
    await backend.refuse();
    await t.throwsAsync(tier.getMany(['json']), { instanceOf: TierUnavailableError });
  });
}
