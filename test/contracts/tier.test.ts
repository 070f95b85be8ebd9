import test, { type ExecutionContext } from 'ava';
import { TierUnavailableError } from '../../src/errors.ts';
import { ZERO_DIGEST } from '../../src/merkle/digest.ts';
import { Shards } from '../../src/postgres/shards.ts';
import { readRows } from '../../src/postgres/read-items.ts';
import { CacheGeneration } from '../../src/redis/cache-generation.ts';
import { closeRedis } from '../../src/redis/connect.ts';
import { createRedis } from '../../src/redis/driver.ts';
import { type CopyFate, ItemStore } from '../../src/redis/item-store.ts';
import { encodeStored } from '../../src/schema/stored-item.ts';
import { PostgresTier } from '../../src/tiers/postgres.ts';
import { CopyTier } from '../../src/tiers/copy-tier.ts';
import type { CopyStore, Look, Tier } from '../../src/tiers/tier.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { MemoryCopies } from '../helpers/memory-copies.ts';
import { chunkOf } from '../helpers/operations.ts';
import { startProxy } from '../helpers/proxy.ts';
import { writerOf } from '../helpers/writer.ts';

interface Backend {
  /** Answers nothing from now on. */
  freeze(): void;
  /** Answers with an error from now on. */
  refuse(): unknown;
  open(): unknown;
}

type Made<T> = T & { readonly backend: Backend; close(): Promise<unknown> };

/** The engines of L2. */
const ENGINES: Record<string, (deployment: Deployment) => Promise<Made<{ copies: CopyStore }>>> = {
  redis: async ({ config, lanes, log, redis: queue }) => {
    const backend = await startProxy(config.redisUrl);
    const redis = createRedis(backend.url, 'failFast', log);
    await redis.connect();
    const generation = new CacheGeneration(redis, queue, () => Promise.resolve(lanes), config, log);
    await generation.known(5000);
    const close = async () => {
      await closeRedis(redis);
      generation.close();
      await backend.close();
    };
    return { copies: new ItemStore(generation), backend, close };
  },
  memory: async () => {
    const copies = new MemoryCopies();
    return { copies, backend: copies, close: async () => undefined };
  },
};

/** The tiers that are asked for many ids. */
const TIERS: Record<string, (deployment: Deployment) => Promise<Made<{ tier: Tier }>>> = {
  ...Object.fromEntries(
    Object.entries(ENGINES).map(([name, open]) => [
      name,
      async (deployment: Deployment) => {
        const { copies, backend, close } = await open(deployment);
        const { config, log, pool } = deployment;
        const tier = new CopyTier(copies, { ...config, timeoutMs: 2000 }, log);
        const look = copies.look();
        // As a read that found no copies: on Redis the writer has made them.
        if (look !== undefined) await tier.repair(await readRows(pool, IDS), look);
        return { tier, backend, close };
      },
    ]),
  ),
  postgres: async ({ config, lanes, log }) => {
    const backend = await startProxy(config.databaseUrl);
    const shards = Shards.open([{ name: 'main', url: backend.url }], 2, log);
    const close = () => shards.close().then(() => backend.close());
    return { tier: new PostgresTier(shards, lanes, 2000), backend, close };
  },
};
const IDS = ['json', 'binary', 'deleted'];

async function setUp(t: ExecutionContext, name: string) {
  const deployment = await createDeployment(ONE_LANE);
  await writerOf(deployment).write([
    chunkOf([
      { id: 'json', stamp: 10, kind: 'json', body: '{"é":"%"}', state: 'open' },
      { id: 'binary', stamp: 11, kind: 'binary', body: Buffer.alloc(100, 7).toString('base64') },
      { id: 'deleted', stamp: 12, kind: 'delete' },
    ]),
  ]);
  const { tier, backend, close } = await (TIERS[name] as (typeof TIERS)[string])(deployment);
  t.teardown(async () => {
    await backend.open();
    await close();
    await deployment.close();
  });
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
    t.deepEqual(await tier.getMany([]), []);
    t.deepEqual(await tier.getHeads([]), []);
    const heads = await tier.getHeads(['nobody', 'deleted', 'json']);
    t.is(heads[0], undefined);
    t.like(heads[1], { kind: 'deleted', contentVersion: 12, stateVersion: 12 });
    t.like(heads[2], { kind: 'json', contentVersion: 10, stateVersion: 10 });
  });

  test(`${name}: I2: all tiers hold the same image of a row`, async (t) => {
    const { deployment, tier } = await setUp(t, name);
    const rows = new PostgresTier(deployment.shards, deployment.lanes, 1000);
    t.deepEqual(await tier.getMany(IDS), await rows.getMany(IDS));
  });

  test(`${name}: I7 I8: a backend that cannot be asked is an error, down or silent, and not an answer`, async (t) => {
    const { tier, backend } = await setUp(t, name);
    backend.freeze();
    await t.throwsAsync(tier.getMany(['json']), { instanceOf: TierUnavailableError });
    await t.throwsAsync(tier.getHeads(['json']), { instanceOf: TierUnavailableError });
    await backend.refuse();
    await t.throwsAsync(tier.getMany(['json']), { instanceOf: TierUnavailableError });
  });
}

function valueAt(stamp: number): string {
  return encodeStored({
    id: 'a',
    kind: 'json',
    contentVersion: stamp,
    stateVersion: 0,
    tiers: 'all',
    digest: ZERO_DIGEST,
    contentHash: '',
    state: 'default',
    body: String(stamp),
  });
}

/** Writes with a new look until none was too old: a look is good for a second, and a busy machine may take longer. */
async function freshly(
  copies: CopyStore,
  set: (look: Look | undefined) => Promise<CopyFate[]>,
): Promise<CopyFate[]> {
  for (;;) {
    const fates = await set(copies.look());
    if (!fates.includes('late')) return fates;
  }
}

for (const [name, open] of Object.entries(ENGINES)) {
  test(`${name}: I1 I6: an engine of L2 keeps the newest copy, and refuses those of an old look`, async (t) => {
    const deployment = await createDeployment(ONE_LANE);
    const { copies, close } = await open(deployment);
    t.teardown(() => close().then(() => deployment.close()));
    const look = copies.look();
    t.true(look !== undefined && copies.isFresh(look));
    const set = (stamp: number, at: Look | undefined) =>
      copies.setNewer([{ id: 'a', value: valueAt(stamp), ttlMs: 0 }], at);
    const setFresh = (stamp: number) => freshly(copies, (at) => set(stamp, at));
    const stored = async () => (await Promise.all(copies.getParts(['a', 'b']))).flat();
    t.deepEqual(await set(20, undefined), ['late']);
    t.deepEqual(await stored(), [null, null]);
    t.deepEqual(await setFresh(20), ['stored']);
    t.deepEqual(await setFresh(10), ['newer']);
    t.deepEqual(await stored(), [valueAt(20), null]);
    t.deepEqual(await copies.inspect('a'), { value: valueAt(20), ttlMs: -1 });
    await copies.dropCopy('a', valueAt(10));
    t.deepEqual(await stored(), [valueAt(20), null], 'another value has taken its place');
    await copies.dropCopy('a', valueAt(20));
    t.deepEqual(await stored(), [null, null]);
    t.deepEqual(await setFresh(20), ['stored']);
    const before = copies.look();
    await copies.drop(['a']);
    t.deepEqual(await set(10, before), ['late'], 'the copy that was dropped may have been newer');
    t.deepEqual(await stored(), [null, null]);
    t.deepEqual(await setFresh(20), ['stored']);
  });
}

const EMOJI = '\u{1f600}';
/** Values of one pair of stamps, each winning over the one before it. */
const TIED = [
  { kind: 'json', contentHash: '0f'.repeat(32), state: 'open' },
  { kind: 'json', contentHash: '0f'.repeat(32), state: 'opened' },
  // The smaller one in JavaScript's order of texts.
  { kind: 'json', contentHash: '0f'.repeat(32), state: '\uffff' },
  { kind: 'json', contentHash: '0f'.repeat(32), state: EMOJI },
  { kind: 'json', contentHash: 'f0'.repeat(32), state: 'open' },
  { kind: 'deleted', contentHash: '', state: 'a' },
  { kind: 'deleted', contentHash: '', state: 'default' },
] as const;

for (const [name, open] of Object.entries(ENGINES)) {
  test(`${name}: I2: of copies with equal stamps an engine of L2 keeps the same one in any order`, async (t) => {
    const deployment = await createDeployment(ONE_LANE);
    const { copies, close } = await open(deployment);
    t.teardown(() => close().then(() => deployment.close()));
    const values = TIED.map((tied, i) =>
      encodeStored({
        id: 'a',
        contentVersion: 10,
        stateVersion: 10,
        tiers: 'all',
        digest: String(i).repeat(32),
        body: tied.kind === 'json' ? '{"a":1}' : '',
        ...tied,
      }),
    );
    for (const [i, first] of values.entries()) {
      for (const [j, second] of values.entries()) {
        const set = (value: string) =>
          freshly(copies, (at) => copies.setNewer([{ id: 'a', value, ttlMs: 0 }], at));
        t.deepEqual(await set(first), ['stored']);
        const fates = await set(second);
        t.deepEqual(fates, [j < i ? 'newer' : 'stored'], `${i} and then ${j}`);
        t.is((await Promise.all(copies.getParts(['a']))).flat()[0], values[Math.max(i, j)]);
        await copies.dropCopy('a', values[Math.max(i, j)] as string);
      }
    }
  });
}
