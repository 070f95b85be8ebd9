import test, { type ExecutionContext } from 'ava';
import type { Chunk } from '../../src/batch/fold.ts';
import { BatchWriter } from '../../src/drain/batch-writer.ts';
import { UNOBSERVED_DRAIN } from '../../src/drain/writer-parts.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { LOOK_MS } from '../../src/redis/cache-session.ts';
import { closeRedis } from '../../src/redis/connect.ts';
import { type CopyFate, ItemStore } from '../../src/redis/item-store.ts';
import { readCopy } from '../helpers/copies.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf } from '../helpers/operations.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { writerOf, writerPartsOf } from '../helpers/writer.ts';
import { closing } from '../helpers/setting.ts';

/** Stamps of a moment ago. */
const FIRST = Date.now() * 1000;

/** A cache of the test's own: it may be emptied. */
async function setUp(t: ExecutionContext): Promise<Deployment> {
  const server = closing(t, await startRedisServer({ appendonly: 'no' }));
  const deployment = closing(t, await createDeployment({ ...ONE_LANE, cacheRedisUrl: server.url }));
  return deployment;
}

/** A store whose first write of copies is held up for as long as `meanwhile` takes. */
class HeldStore extends ItemStore {
  meanwhile: (() => Promise<unknown>) | undefined;

  override async setNewer(...given: Parameters<ItemStore['setNewer']>): Promise<CopyFate[]> {
    const { meanwhile } = this;
    this.meanwhile = undefined;
    await meanwhile?.();
    return super.setNewer(...given);
  }
}

/** Writes a chunk, and something else between its statement and its copies. Returns how many copies were late. */
async function writeHeldUp(
  deployment: Deployment,
  chunk: Chunk,
  meanwhile: () => Promise<unknown>,
): Promise<number> {
  const items = new HeldStore(deployment.generation);
  items.meanwhile = meanwhile;
  let late = 0;
  const observer = { ...UNOBSERVED_DRAIN, copiesLate: (count: number) => void (late += count) };
  const writer = new BatchWriter({ ...writerPartsOf(deployment), items, observer });
  await writer.write([chunk]);
  return late;
}

/** A write with `tiers: 'cache'`. */
function cacheOnly(stamp: number, id: string): Chunk {
  const chunk = chunkOf([{ id, stamp, kind: 'json', body: '"cached"' }]);
  return { ...chunk, job: { ...chunk.job, tiers: 'c' } };
}

async function serverMs({ cache }: Deployment): Promise<number> {
  const [seconds, micros] = await cache.time();
  return Number(seconds) * 1000 + Number(micros) / 1000;
}

/** Until a look of now is too old. */
async function outlast(deployment: Deployment): Promise<void> {
  const from = await serverMs(deployment);
  await eventually(async () => (await serverMs(deployment)) > from + LOOK_MS, 'the clock goes on');
}

/** How the cache loses the newer copy, and when: after the deadline any way will do, within it the epoch must tell. */
const LOSSES: Readonly<Record<string, (deployment: Deployment) => Promise<unknown>>> = {
  'evicted after the deadline': async (deployment) => {
    await outlast(deployment);
    await deployment.cache.del(deployment.keys.item('a'));
  },
  'FLUSHALL at once': ({ cache }) => cache.flushall(),
  'FLUSHDB at once': ({ cache }) => cache.flushdb(),
  'dropped at once': ({ items }) => items.drop(['a']),
};

for (const [how, lose] of Object.entries(LOSSES)) {
  test(`I4 I6: an older batch that was held up does not bring its copy back: ${how}`, async (t) => {
    const deployment = await setUp(t);
    const older = chunkOf([{ id: 'a', stamp: FIRST, kind: 'json', body: '"old"' }]);
    const late = await writeHeldUp(deployment, older, async () => {
      await writerOf(deployment).write([chunkOf([{ id: 'a', stamp: FIRST + 1, kind: 'delete' }])]);
      t.is((await readCopy(deployment, 'a'))?.kind, 'deleted');
      await lose(deployment);
      t.is(await readCopy(deployment, 'a'), undefined);
    });
    t.is(late, 1);
    t.is((await readCopy(deployment, 'a'))?.kind, 'deleted', 'what stands in Postgres now');
    const reader = await openReader(deployment.options);
    t.is(await reader.get('a'), undefined);
    t.false(await reader.contains('a'));
    await reader.close();
  });
}

test('I6: a held-up batch writes what stands now, with its own life where it is its own', async (t) => {
  const deployment = await setUp(t);
  const ops = ['own', 'newer', 'state', 'purged'].map((id, i) => ({
    id,
    stamp: FIRST + i,
    kind: 'json' as const,
    body: '"old"',
  }));
  const chunk = chunkOf(ops);
  const job = { ...chunk.job, ttls: [60_000, 0, 60_000, 0] };
  const late = await writeHeldUp(deployment, { ...chunk, job }, async () => {
    await writerOf(deployment).write([
      chunkOf([{ id: 'newer', stamp: FIRST + 10, kind: 'json', body: '"new"' }]),
      chunkOf([{ id: 'state', stamp: FIRST + 20, kind: 'state', state: 'open' }]),
    ]);
    await deployment.pool.query(`DELETE FROM items WHERE id = 'purged'`);
    await deployment.cache.flushall();
  });
  t.is(late, 4);
  const livesUpTo = async (id: string, ms: number) => {
    const life = await deployment.cache.pttl(deployment.keys.item(id));
    return life > 0 && life <= ms;
  };
  t.is((await readCopy(deployment, 'own'))?.body, '"old"');
  t.true(await livesUpTo('own', 60_000));
  t.is((await readCopy(deployment, 'newer'))?.body, '"new"');
  const state = await readCopy(deployment, 'state');
  t.deepEqual([state?.body, state?.state, state?.stateVersion], ['"old"', 'open', FIRST + 20]);
  t.true(await livesUpTo('state', 60_000));
  t.is(await readCopy(deployment, 'purged'), undefined);
});

function writeOf(stamp: number, body: string): Chunk {
  return chunkOf([{ id: 'a', stamp, kind: 'json', body }]);
}

test('I6: once a superseded write has settled, no older copy is read, though the newer batch has not written its own', async (t) => {
  const deployment = await setUp(t);
  await writerOf(deployment).write([writeOf(FIRST, '"first"')]);
  await writeHeldUp(deployment, writeOf(FIRST + 2, '"newer"'), async () => {
    await writerOf(deployment).write([writeOf(FIRST + 1, '"superseded"')]);
    t.is((await readCopy(deployment, 'a'))?.body, '"newer"');
  });
});

test('I6: a copy that lived for a moment only keeps older ones out all the same', async (t) => {
  const deployment = await setUp(t);
  const older = chunkOf([{ id: 'a', stamp: FIRST, kind: 'json', body: '"old"' }]);
  await writeHeldUp(deployment, older, async () => {
    const newer = chunkOf([{ id: 'a', stamp: FIRST + 1, kind: 'json', body: '"new"' }]);
    await writerOf(deployment).write([{ ...newer, job: { ...newer.job, ttls: [5] } }]);
    await eventually(async () => (await readCopy(deployment, 'a')) === undefined, 'it expires');
  });
  t.is((await readCopy(deployment, 'a'))?.body, '"new"');
});

test('I6: a write for L2 alone that comes late gives way to a newer row', async (t) => {
  const deployment = await setUp(t);
  const row = (id: string) => chunkOf([{ id, stamp: FIRST + 1, kind: 'json', body: '"row"' }]);
  const loses = async (id: string) => {
    await writerOf(deployment).write([row(id)]);
    await deployment.cache.flushall();
  };
  await writeHeldUp(deployment, cacheOnly(FIRST, 'held'), () => loses('held'));
  t.is(await readCopy(deployment, 'held'), undefined);
  await loses('waited');
  const longAgo = cacheOnly(FIRST - 3_600_000_000, 'waited');
  await writerOf(deployment).write([longAgo]);
  t.is(await readCopy(deployment, 'waited'), undefined, 'also when its chunk waited for an hour');
  const outcome = await deployment.redis.get(deployment.keys.outcome(longAgo.chunkId));
  t.regex(outcome ?? '', /superseded/);
  await writerOf(deployment).write([cacheOnly(FIRST - 3_600_000_000, 'alone')]);
  t.is((await readCopy(deployment, 'alone'))?.body, '"cached"', 'one without a row is kept');
});

test('I6: a batch settles with copies where readers look, also when the generation changes in between', async (t) => {
  const deployment = await setUp(t);
  const { redis, cache, keys, generation } = deployment;
  const before = keys.item('a');
  const chunk = chunkOf([{ id: 'a', stamp: FIRST, kind: 'json', body: '1' }]);
  const items = new (class extends ItemStore {
    override async setNewer(...given: Parameters<ItemStore['setNewer']>): Promise<CopyFate[]> {
      const fates = await super.setNewer(...given);
      await redis.hset(keys.cache, 'generation', 'another');
      return fates;
    }
  })(generation);
  await new BatchWriter({ ...writerPartsOf(deployment), items }).write([chunk]);
  t.is(generation.session?.copies.generation, 'another');
  t.not(keys.item('a'), before);
  t.is(await cache.exists(before, keys.item('a')), 2);
});

test('I3 I6: when no look is ever new enough the copies are dropped, and the batch settles', async (t) => {
  const deployment = await setUp(t);
  const items = new (class extends ItemStore {
    override look() {
      const look = super.look();
      return look && { ...look, times: look.times.map((time) => time - LOOK_MS) };
    }
  })(deployment.generation);
  let dropped = 0;
  const observer = { ...UNOBSERVED_DRAIN, copiesDropped: (count: number) => void (dropped += count) };
  await writerOf(deployment).write([chunkOf([{ id: 'a', stamp: FIRST, kind: 'json', body: '1' }])]);
  const writer = new BatchWriter({ ...writerPartsOf(deployment), items, observer });
  t.deepEqual(await writer.write([chunkOf([{ id: 'a', stamp: FIRST + 1, kind: 'json', body: '2' }])]), [
    'settled',
  ]);
  t.is(dropped, 1);
  t.is(await readCopy(deployment, 'a'), undefined);
});

test('I6: what was seen on another connection counts no more', async (t) => {
  const deployment = await setUp(t);
  const { items, cache } = deployment;
  const look = items.look();
  cache.disconnect(true);
  const isAnother = () => items.session !== undefined && items.session !== look?.session;
  await eventually(isAnother, 'connected again');
  t.deepEqual(await items.setNewer([{ id: 'a', value: `1j${'0'.repeat(32)}`, ttlMs: 0 }], look), ['late']);
  await closeRedis(cache);
  await eventually(() => items.look() === undefined, 'the connection is lost');
  await t.throwsAsync(items.getHeads(['a']), { message: /generation/ });
});
