import test, { type ExecutionContext } from 'ava';
import { TierUnavailableError } from '../../src/errors.ts';
import { digestsOfIds, totalsOf } from '../../src/postgres/all-items.ts';
import { findLetter, insertDeadLetters, listLetters } from '../../src/postgres/dead-letters.ts';
import { storeMap } from '../../src/postgres/deployment.ts';
import { foldDeltas } from '../../src/postgres/merkle-delta.ts';
import { Shards } from '../../src/postgres/shards.ts';
import { openReader } from '../../src/read/open-reader.ts';
import type { ShardMap } from '../../src/shard-map.ts';
import { openStore } from '../../src/store/open-store.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/proxy.ts';
import { createSetting } from '../helpers/setting.ts';

const ids = Array.from({ length: 60 }, (_, n) => `${['uk', 'fr', 'ünï'][n % 3]}.${n % 4}.${n}`);

async function setUp(t: ExecutionContext) {
  const setting = await createSetting(t, { partitions: 4 }, ['a', 'b']);
  const { deployment, use, drain } = setting;
  const store = use(await openStore(deployment.options));
  await drain();
  const items = ids.map((id, n) => ({ id, content: n, state: n % 2 === 0 ? 'even' : 'odd' }));
  await (await store.submitMany(items)).settled();
  return { ...setting, store, reader: use(await openReader(deployment.options)) };
}

function byBytes(list: readonly string[]): string[] {
  return list.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Copies the live rows of partition 1 from a to b as they are, as a move does before it switches. */
async function copyPartition({ shards }: Deployment): Promise<void> {
  const [a, b] = shards.all.map(({ pool }) => pool);
  const { rows } = (await a?.query(
    `SELECT json_agg(i)::text AS rows FROM items i WHERE id_hash BETWEEN 536870912 AND 1073741823`,
  )) ?? { rows: [] };
  await b?.query('INSERT INTO items SELECT * FROM json_populate_recordset(NULL::items, $1)', [rows[0]?.rows]);
  await b?.query(
    `INSERT INTO merkle_path SELECT path, CASE WHEN path = '' THEN NULL ELSE merkle_parent(path) END, count(*), bit_xor(digest_hi), bit_xor(digest_lo)
     FROM items, merkle_ancestors(merkle_parent(id)) AS path WHERE id_hash BETWEEN 536870912 AND 1073741823 AND tombstone_week = 0 GROUP BY path
     ON CONFLICT (path) DO UPDATE SET item_count = merkle_path.item_count + EXCLUDED.item_count,
       digest_hi = merkle_path.digest_hi # EXCLUDED.digest_hi, digest_lo = merkle_path.digest_lo # EXCLUDED.digest_lo`,
  );
  await b?.query(
    `INSERT INTO merkle_leaf SELECT id_hash >> 15, count(*), bit_xor(digest_hi), bit_xor(digest_lo)
     FROM items WHERE id_hash BETWEEN 536870912 AND 1073741823 AND tombstone_week = 0 GROUP BY 1
     ON CONFLICT (leaf) DO NOTHING`,
  );
}

test('pages, scans and counts are of all shards, in the order of ids', async (t) => {
  const { reader } = await setUp(t);
  t.is(await reader.countByState('even'), 30);
  t.is(await reader.countPrefix('uk.'), 20);
  const scanned: string[] = [];
  for await (const { id } of reader.scanPrefix('')) scanned.push(id);
  t.deepEqual(scanned, byBytes(ids));
  const paged: string[] = [];
  for (let after: string | undefined; ; ) {
    const page = await reader.listStateIds('odd', { limit: 7, ...(after !== undefined && { after }) });
    paged.push(...page.items);
    t.true(page.items.length <= 7);
    if (page.next === undefined) break;
    after = page.next;
  }
  t.deepEqual(paged, byBytes(ids.filter((_, n) => n % 2 === 1)));
});

test('I2 I5: the tree of two shards is that of one', async (t) => {
  const { deployment, reader, store } = await setUp(t);
  const one = await createDeployment({ partitions: 1 });
  t.teardown(() => one.close());
  const children = async () =>
    (await reader.merkle.children('uk', { limit: 2 })).items.map(({ path }) => path);
  t.deepEqual(await children(), ['uk.0', 'uk.1']);
  const before = await reader.merkle.root();
  t.is(before.count, 60);
  await deployment.shards.each(({ pool }) => foldDeltas(pool));
  t.deepEqual(await reader.merkle.root(), before);
  t.deepEqual(await children(), ['uk.0', 'uk.1']);
  t.is((await reader.merkle.prefix('fr')).count, 20);
  t.is((await totalsOf(deployment.shards)).items, 60);
  const leaves = await reader.merkle.leaves();
  t.is(
    leaves.reduce((sum, { count }) => sum + count, 0),
    60,
  );
  t.is((await reader.merkle.leafItems(leaves.map(({ node }) => node))).length, 60);
  t.deepEqual((await reader.merkle.diff(store.merkle, { recheckMs: 0 })).differences, []);
  const cursors: string[] = [];
  const verified = await reader.merkle.verify({
    content: true,
    onProgress: ({ cursor }) => cursors.push(cursor),
  });
  t.like(verified, { ok: true, rows: 60 });
});

test('I7: rows that are being copied to a shard, or deleted from it, count once', async (t) => {
  const { deployment, reader } = await setUp(t);
  const { shards } = deployment;
  await shards.each(({ pool }) => foldDeltas(pool));
  const seen = async () => ({
    root: await reader.merkle.root(),
    uk: await reader.merkle.prefix('uk'),
    children: (await reader.merkle.children('uk')).items,
    leaves: await reader.merkle.leaves(),
    even: await reader.countByState('even'),
    ids: (await reader.listStateIds('odd', { limit: 1000 })).items,
    found: (await reader.getMany(ids)).map((item) => item?.content),
    items: (await totalsOf(shards)).items,
    digests: (await digestsOfIds(shards, deployment.lanes, ids)).size,
  });
  const before = await seen();
  await copyPartition(deployment);
  t.deepEqual(await seen(), before, 'both shards have the rows; the first one owns them');
  const map: ShardMap = { ...(shards.map as ShardMap), version: 2, owners: ['a', 'b', 'b', 'b'] };
  // Between the two the partition is nowhere: a read waits until the map is whole.
  await storeMap(shards.all[0]?.pool as never, map);
  const waiting = seen();
  await eventually(async () => (await shards.look(), shards.map?.version === 2), 'the change was seen');
  await storeMap(shards.all[1]?.pool as never, map);
  t.deepEqual(await waiting, before, 'the second one owns them');
  t.deepEqual(await seen(), before);
});

test('dead letters of all shards have numbers of their own', async (t) => {
  const { deployment } = await setUp(t);
  const { shards } = deployment;
  const letter = { itemId: 'x', stamp: 1, chunkId: 'c', payload: '{}', sqlState: undefined, message: 'no' };
  await shards.each(({ name, pool }) => insertDeadLetters(pool, [{ ...letter, itemId: name }]));
  const letters = await listLetters(shards, 10);
  t.deepEqual(
    letters.map(({ itemId }) => itemId),
    ['b', 'a'],
  );
  for (const { seq, itemId } of letters) t.is((await findLetter(shards, seq))?.itemId, itemId);
  t.is((await totalsOf(shards)).deadLetters, 2);
});

test('I7 I8: a shard that is away is an error that names it, and never a short answer', async (t) => {
  const { deployment, use } = await setUp(t);
  const [a, b] = deployment.config.shards as unknown as [{ url: string }, { url: string }];
  const proxy = use(await startProxy(b.url));
  const shards = [
    { name: 'a', url: a.url },
    { name: 'b', url: proxy.url },
  ];
  const reader = use(await openReader({ ...deployment.options, shards, l1MaxBytes: 0 }));
  await deployment.items.drop(ids);
  await proxy.refuse();
  const [here, there] = [0, 3].map((partition) => ids.find((id) => deployment.lanes.of(id) === partition));
  t.truthy(await reader.get(here as string));
  const calls = [
    () => reader.get(there as string),
    () => reader.countPrefix(''),
    () => reader.getByPrefix('uk.'),
    () => reader.merkle.root(),
    () => reader.merkle.verify(),
  ];
  for (const call of calls) {
    const { message, shard } = await t.throwsAsync(call(), { instanceOf: TierUnavailableError });
    t.regex(message, /shard b\) cannot be asked/);
    t.is(shard, 'b');
  }
  const { postgres } = await reader.health();
  t.false(postgres.ok);
  t.regex(postgres.error ?? '', /shard b/);
  await proxy.open();
  t.is(await reader.countPrefix(''), 60);
});

test('a process that looks at one of several shards is refused and gets no short answer', async (t) => {
  const { deployment } = await setUp(t);
  const url = (deployment.config.shards[0] as { url: string }).url;
  const one = Shards.open([{ name: 'main', url }], 1, deployment.log);
  t.teardown(() => one.close());
  await t.throwsAsync(totalsOf(one), { code: 'ERR_SHARDS' });
});
