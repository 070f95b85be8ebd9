import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { IoRedis } from '../../src/redis/driver.ts';
import { createRedis } from '../../src/redis/driver.ts';
import { decodeStored } from '../../src/schema/stored-item.ts';
import { parseCopyKey } from '../../src/keys.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Item, Reader, Store } from '../../src/types/read.ts';
import { sweepAll } from '../helpers/copies.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { collect, HistoryActor, IDS } from '../helpers/history-actor.ts';
import { History } from '../helpers/history.ts';
import { type ModelRow, modelRows } from '../helpers/model.ts';
import { ObservedVersions } from '../helpers/observed-versions.ts';
import { type Proxy, startProxy } from '../helpers/proxy.ts';
import { Random } from '../helpers/random.ts';
import { expandRanges } from '../helpers/range-model.ts';
import { type RedisServer, startRedisServer } from '../helpers/redis-server.ts';
import { allStoredRows, asCopy, copyForm } from '../helpers/stored-rows.ts';
import { startWorker, type WorkerProcess } from '../helpers/worker-process.ts';

/** Histories one after another on the same deployment, each with faults of its own; `npm run soak` makes more. */
const HISTORIES = Number(process.env.SOAK_HISTORIES ?? 3);
const FIRST_SEED = Number(process.env.SOAK_SEED ?? Date.now() % 1_000_000);
const OPS = 60;
const LOCK_MS = 1000;
interface Scene {
  readonly deployment: Deployment;
  readonly server: RedisServer;
  readonly cache: IoRedis;
  readonly readerCache: Proxy;
  /** Each with a way of its own to the cache. */
  readonly workers: readonly { readonly worker: WorkerProcess; readonly proxy: Proxy }[];
  readonly stores: readonly Store[];
}

/** One kind of trouble. @param quiet resolves once nothing is written any more: what comes late then stays to be seen */
type Fault = (scene: Scene, random: Random, quiet: Promise<void>) => Promise<void>;

const FAULTS: Readonly<Record<string, Fault>> = {
  async 'copies of a worker are held up'({ workers, cache }, random, quiet) {
    const { proxy } = random.pick(workers);
    await sleep(random.upTo(400));
    proxy.freeze();
    await (random.chance(0.5) ? quiet : sleep(random.upTo(600)));
    if (random.chance(0.7)) await cache.flushall();
    await proxy.open();
  },
  async 'back-fills are held up'({ readerCache, cache }, random, quiet) {
    await sleep(random.upTo(200));
    for (let i = 0; i < 3; i++) {
      // Reads miss, and what they fill in is caught on its way.
      await cache.flushall();
      await sleep(random.upTo(20));
      readerCache.freeze();
      // Reads wait for their time limit meanwhile.
      await Promise.race([quiet, sleep(random.upTo(i === 2 ? 900 : 300))]);
      if (random.chance(0.7)) await cache.flushall();
      await readerCache.open();
    }
  },
  async 'L2 is emptied'({ cache }, random, quiet) {
    for (let i = 0; i < 3; i++) {
      await sleep(random.upTo(400));
      await cache.flushall();
    }
    await quiet;
    await cache.flushall();
  },
  async 'L2 comes back older'({ cache, server, deployment }, random, quiet) {
    await sleep(random.upTo(400));
    await cache.save();
    if (random.chance(0.3)) await sleep(random.upTo(500));
    else {
      await quiet;
      // What settles afterwards writes its copies anew. With a worker held up it does not end.
      await eventually(() => hasSettled(deployment), 'all has settled', 1000).catch(() => undefined);
    }
    await server.restart();
  },
  async 'a worker is stopped past its lock'({ workers, cache }, random, quiet) {
    const { proxy, worker } = random.pick(workers);
    await sleep(random.upTo(300));
    // Its copies are on their way.
    proxy.freeze();
    await sleep(random.upTo(60));
    worker.child.kill('SIGSTOP');
    await sleep(LOCK_MS * 2.2);
    await quiet;
    if (random.chance(0.7)) await cache.flushall();
    worker.child.kill('SIGCONT');
    await proxy.open();
  },
};

/**
 * With one of the faults above, the one that is documented: a copy that is evicted while an older one is on its way leaves room
 * for it, until the sweep.
 */
const evictions: Fault = async ({ cache, deployment }, random, quiet) => {
  const end = quiet.then(() => true);
  const pause = async () => sleep(random.upTo(20));
  while (!(await Promise.race([end, pause()]))) {
    const keys = await cache.keys(`${deployment.keys.itemPrefix}*`);
    if (keys.length > 0) await cache.del(random.shuffle(keys).slice(0, 3));
  }
};

let scene: Scene;
let history: History;
const closers: (() => Promise<unknown>)[] = [];
test.before(async () => {
  const server = await startRedisServer({ appendonly: 'no' });
  closers.unshift(() => server.close());
  const deployment = await createDeployment({ cacheRedisUrl: server.url });
  closers.unshift(() => deployment.close());
  const readerCache = await startProxy(server.url);
  closers.unshift(() => readerCache.close());
  const workers: Scene['workers'][number][] = [];
  for (let i = 0; i < 2; i++) {
    const proxy = await startProxy(server.url);
    closers.unshift(() => proxy.close());
    const worker = await startWorker('drain', {
      ...deployment.env,
      CACHE_REDIS_URL: proxy.url,
      TIERLINE_CHUNK_LOCK_MS: `${LOCK_MS}`,
      TIERLINE_BATCH_MAX_ITEMS: '20',
    });
    closers.unshift(() => worker.stop('SIGKILL'));
    workers.push({ worker, proxy });
  }
  const stores: Store[] = [];
  for (const l1MaxBytes of [0, 4096, deployment.config.l1MaxBytes]) {
    const store = await openStore({ ...deployment.options, cacheRedisUrl: readerCache.url, l1MaxBytes });
    stores.push(store);
    closers.unshift(() => store.close());
  }
  const cache = createRedis(server.url, 'patient', deployment.log);
  closers.unshift(async () => cache.disconnect());
  const { redis, lanes } = deployment;
  history = new History(async (id) => Number(await redis.hget(lanes.keysOf(id).clock, 'entries')));
  scene = { deployment, server, cache, readerCache, workers, stores };
});
test.after.always(async () => {
  for (const close of closers) await close();
});

test.serial(
  'I2 I4 I6 I7: random histories under faults end as the model, in Postgres, in L2 and for every reader, and no read contradicts what has settled',
  async (t) => {
    for (let i = 0; i < HISTORIES; i++) {
      const seed = FIRST_SEED + i;
      const random = new Random(seed);
      const [first, second] = random.shuffle(Object.keys(FAULTS)) as [string, string];
      const what = `SOAK_SEED=${seed}: ${first}, ${second}`;
      t.log(what);
      const seen = await run(seed, [FAULTS[first] as Fault, FAULTS[second] as Fault]);
      t.deepEqual(history.violations, [], what);
      for (const { reads, violations } of seen) {
        t.true(reads > 0, what);
        t.deepEqual(violations, [], what);
      }
      await assertAll(scene.stores, what);
    }
  },
);

test.serial(
  'I2 I4 I7: random histories with evicted copies too end as the model, after a turn of the sweep',
  async (t) => {
    for (let i = 0; i < HISTORIES; i++) {
      const seed = FIRST_SEED + i;
      const name = new Random(seed).pick(Object.keys(FAULTS));
      const what = `SOAK_SEED=${seed}: evictions, ${name}`;
      t.log(what);
      await run(seed, [evictions, FAULTS[name] as Fault]);
      await untilInUse();
      await sweepAll(scene.deployment);
      await t.notThrowsAsync(assertAll([], what));
    }
  },
);

/** One history from its first write until all has settled. Returns what each store has seen. */
async function run(seed: number, faults: readonly Fault[]): Promise<ObservedVersions[]> {
  const random = new Random(seed);
  const seen = scene.stores.map(() => new ObservedVersions());
  const acting = Promise.all(
    scene.stores.map((store, s) => {
      const actor = new HistoryActor(
        store,
        history,
        seen[s] as ObservedVersions,
        new Random(seed * 10 + s),
        scene.deployment.lanes,
      );
      return act(actor, new Random(seed * 10 + s + 5));
    }),
  );
  const quiet = acting.then(() => undefined);
  await Promise.all(faults.map((fault) => fault(scene, random, quiet)));
  await Promise.all((await acting).flat());
  await settleAll();
  return seen;
}

/** Rows, copies and reads are the model's: those of `readers`, and of one that opens now. */
async function assertAll(readers: readonly Reader[], what: string): Promise<void> {
  const rows = modelRows(expandRanges(history.ops));
  assert.deepEqual(await allStoredRows(scene.deployment.shards), rows, what);
  const live = new Map(rows.filter((row) => !row.deleted).map((row) => [row.id, row]));
  await untilInUse();
  await assertCopies(rows, what);
  const fresh = await openReader(scene.deployment.options);
  for (const reader of [...readers, fresh]) await assertReads(reader, live, what);
  await fresh.close();
  await assertCopies(rows, what);
}

/** Everything that was accepted has settled, and every process has been told. */
async function settleAll(): Promise<void> {
  const { deployment } = scene;
  await Promise.all(scene.stores.map((store) => store.flush()));
  await eventually(() => hasSettled(deployment), 'all has settled', 60_000);
  const heads = await headsOf(deployment);
  const isTold = ({ counters: { feed } }: Store) =>
    heads.every((head, lane) => (feed.entries[lane] ?? 0) >= head);
  await eventually(() => scene.stores.every(isTold), 'told');
}

async function hasSettled({ redis, lanes }: Deployment): Promise<boolean> {
  const inFlight = await Promise.all(lanes.keys.map(({ inflight }) => redis.zcard(inflight)));
  return inFlight.every((chunks) => chunks === 0);
}

/** The newest entry of each partition's feed. */
async function headsOf({ redis, lanes }: Deployment): Promise<number[]> {
  return (await Promise.all(lanes.keys.map(({ clock }) => redis.hget(clock, 'entries')))).map(Number);
}

/** Returns once all its writes are accepted; what it returns ends when they have settled. */
async function act(actor: HistoryActor, random: Random): Promise<Promise<unknown>[]> {
  const settling: Promise<unknown>[] = [];
  for (let n = 0; n < OPS; n++) {
    if (random.chance(0.35)) {
      const { settled } = await actor.write();
      // A read may fail before this is waited for.
      settled.catch(() => undefined);
      settling.push(settled);
    } else {
      await actor.read();
    }
    await sleep(random.upTo(25));
  }
  return settling;
}

/** A server that was just restarted is used by nobody before its generation is made. */
async function untilInUse(): Promise<void> {
  const { cache, deployment } = scene;
  const { redis, lanes } = deployment;
  const runId = /run_id:(\w+)/.exec(await cache.info('server'))?.[1];
  await eventually(
    async () => (await redis.hget(lanes.home.cache, 'server')) === runId,
    'the server is in use',
  );
  await eventually(() => deployment.items.session !== undefined, 'and its generation known');
}

/** Every copy in use is its row's or a note that L2 has none; an older generation is never read. */
async function assertCopies(rows: readonly ModelRow[], what: string): Promise<void> {
  const { deployment, cache } = scene;
  const byId = new Map(rows.map((row) => [row.id, row]));
  const { redis, keys } = deployment;
  const generation = await redis.hget(keys.cache, 'generation');
  for (const key of await cache.keys(`${keys.itemPrefix}*`)) {
    const parts = parseCopyKey(keys, key);
    const value = await cache.get(key);
    if (parts === undefined || value === null || parts.generation !== generation) continue;
    const row = byId.get(parts.id);
    assert.ok(row !== undefined, `${what}: a copy of ${parts.id}, which has no row`);
    const copy = copyForm(decodeStored(parts.id, value));
    // A write with tiers "durable" leaves a fence of its stamps.
    const expected = copy.kind === 'fence' ? { ...asCopy(row), kind: 'fence', body: '' } : asCopy(row);
    assert.deepEqual(copy, expected, what);
  }
}

async function told(item: Item | undefined | Promise<Item | undefined>): Promise<unknown> {
  const known = await item;
  return known && [known.content, known.state, known.version];
}

function expectedOf(row: ModelRow | undefined): unknown {
  return row && [JSON.parse(row.body ?? ''), row.state, Math.max(row.contentVersion, row.stateVersion)];
}

async function assertReads(reader: Reader, live: ReadonlyMap<string, ModelRow>, what: string): Promise<void> {
  const knowsL2 = () => reader.status('c').then(Boolean, () => false);
  await eventually(knowsL2, `${what}: L2 is in use again`);
  const items = await reader.getMany(IDS);
  for (const [i, id] of IDS.entries()) {
    const expected = expectedOf(live.get(id));
    assert.deepEqual(await told(reader.get(id)), expected, `${what}: get ${id}`);
    assert.deepEqual(await told(items[i]), expected, `${what}: getMany ${id}`);
    assert.deepEqual(await told((await reader.lookup(id)).item), expected, `${what}: lookup ${id}`);
    assert.equal(await reader.contains(id), live.has(id), `${what}: contains ${id}`);
    assert.ok(!live.has(id) || !reader.definitelyMissing(id), `${what}: definitelyMissing ${id}`);
    const { status } = await reader.status(id);
    assert.equal(status, live.has(id) ? 'synced' : 'missing', `${what}: status ${id}`);
    const peeked = reader.peek(id);
    if (peeked !== undefined) assert.deepEqual(await told(peeked), expected, `${what}: peek ${id}`);
  }
  const ids = [...live.keys()].toSorted();
  for (const found of [(await reader.getByPrefix('')).items, await collect(reader.scanPrefix(''))]) {
    assert.deepEqual(found.map(({ id }) => id).toSorted(), ids, `${what}: prefix`);
    for (const item of found)
      assert.deepEqual(await told(item), expectedOf(live.get(item.id)), `${what}: prefix`);
  }
  for (const state of new Set([...live.values()].map((row) => row.state))) {
    const ofState = ids.filter((id) => live.get(id)?.state === state);
    assert.deepEqual((await reader.listStateIds(state)).items.toSorted(), ofState, `${what}: state ${state}`);
    assert.equal(await reader.countByState(state), ofState.length, `${what}: state ${state}`);
  }
}
