import test, { type ExecutionContext } from 'ava';
import { PartitionMovedError, ShardsError } from '../../src/errors.ts';
import type { Options } from '../../src/config.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { raisePartitions } from '../../src/maintenance/raise-partitions.ts';
import { migrateShards } from '../../src/postgres/migrate-shards.ts';
import { readDeployment, storeMap } from '../../src/postgres/deployment.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { ShardOption } from '../../src/shard-list.ts';
import type { ShardMap } from '../../src/shard-map.ts';
import type { Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { createSetting } from '../helpers/setting.ts';

const NAMES = ['a', 'b'];

function setUp(t: ExecutionContext, options: Options = {}, names = NAMES) {
  return createSetting(t, { partitions: 4, ...options }, names);
}

/** An id of each partition. */
function idsOf({ lanes }: Deployment): string[] {
  const ids: string[] = [];
  for (let n = 0; ids.filter(Boolean).length < lanes.count; n++) ids[lanes.of(`k.${n}`)] ??= `k.${n}`;
  return ids;
}

function shardsIn({ config }: Deployment): readonly [ShardOption, ShardOption] {
  return config.shards as unknown as readonly [ShardOption, ShardOption];
}

/** What each shard has, by its name. */
async function idsByShard({ shards }: Deployment): Promise<Record<string, string[]>> {
  const lists = await shards.each(async ({ name, pool }) => {
    const { rows } = await pool.query<{ id: string }>('SELECT id FROM items WHERE NOT deleted ORDER BY id');
    return [name, rows.map(({ id }) => id)] as const;
  });
  return Object.fromEntries(lists);
}

async function change({ shards }: Deployment, change: Partial<ShardMap>): Promise<void> {
  const map = { ...(shards.map as ShardMap), ...change, version: (shards.map as ShardMap).version + 1 };
  await shards.each(({ pool }) => storeMap(pool, map));
  shards.adopt(map);
}

test('writes go to the shard of their partition, and reads by id find them there', async (t) => {
  const { deployment, use, drain } = await setUp(t);
  const store = use(await openStore(deployment.options));
  await drain();
  const ids = idsOf(deployment);
  await (await store.submitMany(ids.map((id) => ({ id, content: id })))).settled();
  t.deepEqual(deployment.shards.map?.owners, ['a', 'a', 'b', 'b']);
  t.deepEqual(await idsByShard(deployment), { a: ids.slice(0, 2).sort(), b: ids.slice(2).sort() });
  await deployment.items.drop(ids);
  const reader = use(await openReader(deployment.options));
  const found = await reader.getMany([...ids, 'absent', ...ids]);
  t.deepEqual(
    found.map((item) => item?.content),
    [...ids, undefined, ...ids],
  );
  t.true(await reader.contains(ids[3] as string));
  t.false(await reader.contains('absent'));
});

test('I3: while a partition is being moved its writes wait, and afterwards a process with the old map writes to the new shard', async (t) => {
  const { deployment, use, drain } = await setUp(t);
  const store = use(await openStore(deployment.options));
  await drain();
  const ids = idsOf(deployment);
  await (await store.submitMany(ids.map((id) => ({ id, content: 1 })))).settled();
  await change(deployment, { move: { partition: 1, from: 'a', to: 'b', step: 'copy' } });
  const { tickets } = await store.submitMany(ids.map((id) => ({ id, content: 2 })));
  for (const partition of [0, 2, 3]) t.is((await tickets[partition]?.settled())?.status, 'applied');
  const { rows } = await deployment.pool.query(`SELECT content::text FROM items WHERE id = $1`, [ids[1]]);
  t.deepEqual(rows, [{ content: '1' }], 'it has not been written');
  await change(deployment, { move: undefined, owners: ['a', 'b', 'b', 'b'] });
  t.is((await tickets[1]?.settled())?.status, 'applied');
  t.true((await idsByShard(deployment))['b']?.includes(ids[1] as string));
  const reader = use(await openReader(deployment.options));
  t.like(await reader.get(ids[1] as string), { content: 2 });
});

test('I3: a write at the shard that gave the partition up is refused, and the next try finds the new one', async (t) => {
  const { deployment } = await setUp(t);
  const { shards } = deployment;
  const rows = shards.rowsOf(0);
  await change(deployment, { owners: ['b', 'a', 'b', 'b'] });
  const stale = await setUpStale(deployment);
  const written = () => stale.rowsOf(0).write((db) => db.query('SELECT 1'));
  await t.throwsAsync(written(), { instanceOf: PartitionMovedError, code: 'ERR_PARTITION_MOVED' });
  await t.notThrowsAsync(written());
  t.is(stale.rowsOf(0).shard, 'b');
  t.is(rows.shard, 'b');
  await stale.close();
});

/** As a process that has looked at the map before it changed. */
async function setUpStale({ shards, options, log }: Deployment) {
  const { Shards } = await import('../../src/postgres/shards.ts');
  const stale = Shards.open(options.shards ?? [], 1, log);
  stale.adopt({ ...(shards.map as ShardMap), version: 1, owners: ['a', 'a', 'b', 'b'] });
  return stale;
}

test('a shard that is named later has nothing, and one with data of its own is refused', async (t) => {
  const { deployment } = await setUp(t);
  const other = await setUp(t, {}, ['c']);
  const [a, b] = shardsIn(deployment);
  const [fresh] = shardsIn(other.deployment);
  await other.deployment.pool.query(
    'UPDATE deployment SET shard_name = NULL, shard_map = NULL, map_version = 0',
  );
  await migrateShards([a, b, fresh]);
  const { map } = await readDeployment(other.deployment.pool);
  t.like(map, { version: 2, shards: ['a', 'b', 'c'], owners: ['a', 'a', 'b', 'b'] });
  t.like(await readDeployment(deployment.pool), { shard: 'a', map: { version: 2 } });
  await t.throwsAsync(migrateShards([a, b]), { instanceOf: ShardsError, message: /has a shard c/ });
  await t.throwsAsync(migrateShards([{ name: 'a', url: b.url }, { name: 'b', url: a.url }, fresh]), {
    instanceOf: ShardsError,
    message: /shard a .* leads to the database of shard b/,
  });
  await t.throwsAsync(migrateShards([a, { name: 'b', url: `${a.url}?application_name=b` }]), {
    instanceOf: ShardsError,
    message: /a and b .* are the same database/,
  });
});

test('one database with data keeps all partitions when it becomes a shard of several', async (t) => {
  const { deployment, use } = await createSetting(t, { partitions: 2 });
  const store = use(await openStore(deployment.options));
  await using worker = await startDrain(deployment.options);
  await (await store.submit({ id: 'x', content: 1 })).settled();
  await worker.close();
  const second = await createSetting(t, { partitions: 1 });
  const shards = [
    { name: 'old', url: deployment.options.databaseUrl },
    { name: 'new', url: second.deployment.options.databaseUrl },
  ];
  await migrateShards(shards);
  const grown = { ...deployment.options, shards };
  const reader = use(await openReader(grown));
  t.like(await reader.get('x'), { content: 1 });
  t.like(await readDeployment(second.deployment.pool), {
    partitions: 2,
    shard: 'new',
    map: { owners: ['old', 'old'] },
  });
  await migrateShards(shards);
  t.like((await readDeployment(second.deployment.pool)).map, { version: 1 });
});

test('processes that do not name the shards of the deployment are refused with the fix', async (t) => {
  const { deployment } = await setUp(t);
  const { options } = deployment;
  const [a, b] = shardsIn(deployment);
  const stranger = await setUp(t);
  const foreign = shardsIn(stranger.deployment)[1].url;
  const cases: readonly (readonly [Options, RegExp])[] = [
    [{ shards: [] }, /is shard a of a deployment with the shards a, b. Set TIERLINE_SHARDS/],
    [{ shards: [b] }, /has a shard a, which TIERLINE_SHARDS does not name/],
    [{ shards: [a, { name: 'c', url: b.url }] }, /has a shard b, which TIERLINE_SHARDS does not name/],
    [
      {
        shards: [
          { name: 'a', url: b.url },
          { name: 'b', url: a.url },
        ],
      },
      /swapped/,
    ],
    [{ shards: [a, { name: 'b', url: `${a.url}?application_name=b` }] }, /leads to the database of shard a/],
    [{ shards: [a, { name: 'b', url: foreign }] }, /shard b is of another deployment/],
  ];
  for (const [wrong, message] of cases) {
    for (const open of [openReader, startDrain]) {
      await t.throwsAsync(open({ ...options, ...wrong }), {
        instanceOf: ShardsError,
        code: 'ERR_SHARDS',
        message,
      });
    }
  }
});

test('raising the number of partitions leaves each where it is', async (t) => {
  const { deployment, use, drain } = await setUp(t, { partitions: 2 });
  const store = use(await openStore(deployment.options));
  const worker = await drain();
  const ids = Array.from({ length: 40 }, (_, n) => `k.${n}`);
  await (await store.submitMany(ids.map((id) => ({ id, content: 1 })))).settled();
  const before = await idsByShard(deployment);
  await Promise.all([store.close(), worker.close()]);
  const { shards, redis, log, options } = deployment;
  const parts = { shards, queue: redis, namespace: options.namespace, log };
  await raisePartitions(parts, 8);
  t.like((await readDeployment(deployment.pool)).map, { owners: 'aaaabbbb'.split(''), version: 2 });
  const raised = { ...options, partitions: undefined };
  await using after = await openStore(raised);
  await using _worker = await startDrain(raised);
  await (await after.submitMany(ids.map((id) => ({ id, content: 2 })))).settled();
  t.deepEqual(await idsByShard(deployment), before);
  // As after a crash between the shards.
  await deployment.pool.query('UPDATE deployment SET partitions = 2');
  await t.throwsAsync(openReader(raised), { message: /partitions raise 8/ });
  await eventually(() => after.pressure().waitingItems === 0, 'all has settled');
});
