import test, { type ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { MembershipFilter } from '../../src/filter/membership.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf } from '../helpers/operations.ts';
import { startProxy } from '../helpers/proxy.ts';
import { openReadSide, type ReadSide } from '../helpers/read-side.ts';
import { writerOf } from '../helpers/writer.ts';
import { removeEach } from '../helpers/redis-keys.ts';

async function setUp(t: ExecutionContext, options: Options = {}) {
  const deployment = await createDeployment({ ...ONE_LANE, ...options });
  const proxy = await startProxy(deployment.options.redisUrl);
  const writer = writerOf(deployment);
  let stamp = 1000;
  const sides: ReadSide[] = [];
  t.teardown(async () => {
    for (const side of sides) await side.close();
    await proxy.close();
    await deployment.close();
  });
  return {
    deployment,
    proxy,
    async open(): Promise<ReadSide> {
      const side = await openReadSide(deployment, proxy.url);
      sides.push(side);
      return side;
    },
    put: async (...ids: string[]) => {
      const first = (stamp += 10_000);
      await writer.write([chunkOf(ids.map((id, i) => ({ id, stamp: first + i, kind: 'json', body: '1' })))]);
    },
    remove: async (...ids: string[]) => {
      const first = (stamp += 10_000);
      await writer.write([chunkOf(ids.map((id, i) => ({ id, stamp: first + i, kind: 'delete' })))]);
    },
  };
}

function numbered(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${name}.${i}`);
}

/** The reader asks L2 and Postgres without the copies that would answer first. */
async function dropCopies({ redis, keys }: Deployment, ids: readonly string[]): Promise<void> {
  await removeEach(
    redis,
    ids.map((id) => keys.item(id)),
  );
}

test('I7: a filter loaded from the rows knows every live id, and what the feed tells later', async (t) => {
  const { open, put, remove } = await setUp(t);
  await put(...numbered('old', 300));
  await remove('old.7');
  const side = await open();
  t.false(side.filter.lacks('nobody'), 'nothing is believed before it is loaded');
  await eventually(() => side.filter.isTrusted, 'the filter is loaded');
  t.true(numbered('old', 300).every((id) => id === 'old.7' || !side.filter.lacks(id)));
  t.true(side.filter.lacks('new.1'));
  await put('new.1');
  await eventually(() => !side.filter.lacks('new.1'), 'the feed tells');
  t.true(side.filter.lacks('nobody'));
});

test('I7: absence is answered without SQL when the filter is at the head of the feed', async (t) => {
  const { deployment, open, put } = await setUp(t);
  await put(...numbered('a', 10));
  const side = await open();
  await eventually(() => side.filter.isTrusted, 'the filter is loaded');
  const absent = numbered('nobody', 1000);
  const answers = await Promise.all(absent.map((id) => side.existence.exists(id)));
  t.true(answers.every((exists) => !exists));
  t.true((await side.reads.getMany(absent)).every((item) => item === undefined));
  t.is(side.l3.counters.requests, 0);
  await dropCopies(deployment, numbered('a', 10));
  t.true((await Promise.all(numbered('a', 10).map((id) => side.existence.exists(id)))).every(Boolean));
});

test('I7: a snapshot is not caught up with a feed that lost what the snapshot had', async (t) => {
  const { deployment, open, put } = await setUp(t);
  const { redis, keys } = deployment;
  await put('a');
  await put('b');
  const { source } = await open();
  const { filter, position } = await source.begin();
  t.like(await source.catchUp(filter, position), { number: 2, id: position.id });
  const [newest] = await redis.xrevrange(keys.feed, '+', '-', 'COUNT', 1);
  await redis.xdel(keys.feed, (newest as [string, string[]])[0]);
  await redis.hincrby(keys.clock, 'entries', -1);
  t.is(await source.catchUp(filter, position), undefined, 'its number went down');
});

test("I7: the filter's no is no proof while the head of the feed is further than the filter", async (t) => {
  const { deployment, proxy, open, put } = await setUp(t);
  const side = await open();
  await eventually(() => side.filter.isTrusted, 'the filter is loaded');
  // The tail hears nothing for a while and does not know it yet; everything else goes on.
  proxy.freeze();
  await put('a');
  await dropCopies(deployment, ['a']);
  t.true(side.filter.lacks('a'), 'it has not heard of it');
  t.true(await side.existence.exists('a'));
  t.like(await side.reads.get('a'), { content: 1 });
});

test('I7: a reader that starts from the stored snapshot knows what settled since', async (t) => {
  const { deployment, open, put, remove } = await setUp(t);
  await put(...numbered('old', 500));
  const first = await open();
  await first.source.refresh(1e9);
  await put(...numbered('since', 50));
  await remove('old.3');
  // A snapshot that is used shows: it still holds an id that no row has.
  await deployment.pool.query(`DELETE FROM items WHERE id = 'old.4'`);
  const side = await open();
  await eventually(() => side.filter.isTrusted, 'the filter is loaded');
  t.false(side.filter.lacks('old.4'), 'from the snapshot');
  for (const id of [...numbered('old', 500), ...numbered('since', 50)]) t.false(side.filter.lacks(id), id);
  t.true(side.filter.lacks('nobody'));
});

type Put = (...ids: string[]) => Promise<void>;

const FORGET = {
  'the feed was trimmed': ({ redis, keys }: Deployment) => redis.xtrim(keys.feed, 'MAXLEN', 0),
  'the feed was trimmed and has grown again': async ({ redis, keys }: Deployment, put: Put) => {
    await redis.xtrim(keys.feed, 'MAXLEN', 0);
    await put('c');
  },
  'Redis was emptied': (deployment: Deployment) => deployment.emptyRedis(),
  'Redis was emptied and is in use again': async (deployment: Deployment, put: Put) => {
    await deployment.emptyRedis();
    await put('c');
    await put('d');
  },
  'the stored bytes are not a filter': ({ pool }: Deployment) =>
    pool.query(`UPDATE filter_snapshots SET filter = '\\x00'`),
  'the snapshot is from a time that Redis has lost': ({ pool }: Deployment) =>
    pool.query(`UPDATE filter_snapshots SET feed_number = feed_number + 5, feed_entry = '99999999999999-0'`),
};

for (const [reason, forget] of Object.entries(FORGET)) {
  for (const start of ['a feed of its own', 'an empty feed']) {
    test(`I7: a stored snapshot, written with ${start}, is not used when ${reason}`, async (t) => {
      const { deployment, open, put } = await setUp(t);
      await put('a');
      if (start === 'an empty feed') await deployment.emptyRedis();
      const first = await open();
      await first.source.refresh(1e9);
      await put('b');
      await forget(deployment, put);
      const side = await open();
      await eventually(() => side.filter.isTrusted, 'the filter is loaded');
      t.false(side.filter.lacks('a'));
      t.false(side.filter.lacks('b'));
      await first.source.refresh(1e9);
      const stored = await first.source.snapshot();
      t.true(stored?.filter.has('b'), 'the chore replaces it');
    });
  }
}

test('I7: a gap in the feed ends all belief until the filter was loaded anew', async (t) => {
  const { deployment, open, put } = await setUp(t);
  const side = await open();
  await eventually(() => side.filter.isTrusted, 'the filter is loaded');
  await deployment.redis.hincrby(deployment.keys.clock, 'entries', 1);
  await put('a');
  await eventually(() => side.filter.loads === 2 && side.filter.isTrusted, 'the filter is loaded anew');
  t.false(side.filter.lacks('a'));
  t.true(side.filter.lacks('nobody'));
});

test('I7: nothing is believed while the feed is out of sight', async (t) => {
  const { proxy, open, put } = await setUp(t);
  const side = await open();
  await eventually(() => side.filter.isTrusted, 'the filter is loaded');
  t.true(side.filter.lacks('a'));
  await proxy.refuse();
  await eventually(() => !side.tail.live, 'the tail is down');
  t.false(side.filter.lacks('a'));
  t.false(await side.existence.exists('a'));
  t.is(side.l3.counters.requests, 1, 'SQL decided');
  await put('a');
  await proxy.open();
  await eventually(() => side.tail.live, 'the tail is back');
  t.false(side.filter.lacks('a'));
  t.is(side.filter.loads, 1, 'what was missed is replayed, the filter is kept');
});

test('I7: when a fifth is dead another filter is loaded beside it, and no id is denied meanwhile', async (t) => {
  const { open, put, remove } = await setUp(t);
  const ids = numbered('a', 2000);
  await put(...ids);
  const side = await open();
  await eventually(() => side.filter.isTrusted, 'the filter is loaded');
  await remove(...ids.slice(0, 500));
  await put('late');
  while (side.filter.loads < 2) {
    t.false(ids.slice(500).some((id) => side.filter.lacks(id)));
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.false(ids.slice(500).some((id) => side.filter.lacks(id)));
  await eventually(() => !side.filter.lacks('late'), 'the feed has told of the latest item');
  t.true(ids.slice(0, 500).filter((id) => side.filter.lacks(id)).length > 490);
});

test('I10: a table that grows before Postgres has analysed it does not make readers load their filter again and again', async (t) => {
  const { deployment, open, put } = await setUp(t);
  await deployment.pool.query('ALTER TABLE items SET (autovacuum_enabled = false)');
  const side = await open();
  await eventually(() => side.filter.isTrusted, 'the filter is loaded');
  for (let i = 0; i < 20; i++) {
    await put(...numbered(`a${i}`, 1000));
    await eventually(() => !side.filter.lacks(`a${i}.999`), 'the feed has told');
  }
  await eventually(() => side.filter.loads > 1, 'the filter that had become too small is replaced');
  const { loads } = side.filter;
  for (let i = 0; i < 5; i++) {
    await put(`late.${i}`);
    await eventually(() => !side.filter.lacks(`late.${i}`), 'the feed has told');
  }
  t.is(side.filter.loads, loads);
  t.true(loads < 5, `${loads} loads for 20 batches`);
});

test('I10: a filter that would be larger than its limit is not kept', async (t) => {
  const { open, put } = await setUp(t, { filterMaxBytes: 1000 });
  await put('a');
  const side = await open();
  t.true(await side.existence.exists('a'));
  t.false(await side.existence.exists('b'));
  t.false(side.filter.isTrusted);
  await side.source.refresh(1000);
  t.is(await side.source.snapshot(), undefined);
});

test('I7: a filter reads its ids in pages and misses none that come or go meanwhile', async (t) => {
  const { deployment, open } = await setUp(t);
  const side = await open();
  await deployment.pool.query(
    `INSERT INTO items (id, content_version, deleted, content, content_hash, state_version, state, tombstone_week, id_hash, digest_hi, digest_lo, state_digest_hi, state_digest_lo, batch_id)
     SELECT 'row.' || n, 1, false, '1', '\\x00', 0, 'default', 0, 0, 0, 0, 0, 0, gen_random_uuid() FROM generate_series(1, 25000) n`,
  );
  const filter = MembershipFilter.withCapacity(1000);
  let pages = 0;
  t.true(
    await side.source.addLiveIds(filter, () => {
      pages++;
      return true;
    }),
  );
  t.is(pages, 3);
  for (let n = 1; n <= 25_000; n++) t.true(filter.has(`row.${n}`));
  t.false(await side.source.addLiveIds(MembershipFilter.withCapacity(1000), () => false));
});
