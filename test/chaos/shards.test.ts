import test, { type ExecutionContext } from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { TierUnavailableError } from '../../src/errors.ts';
import { migrate } from '../../src/postgres/migrator.ts';
import { migrateShards } from '../../src/postgres/migrate-shards.ts';
import { openReader } from '../../src/read/open-reader.ts';
import type { ShardOption } from '../../src/shard-list.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/proxy.ts';
import { createSetting } from '../helpers/setting.ts';

/** The processes reach shard b through a relay, which takes it away. */
async function setUp(t: ExecutionContext) {
  const setting = await createSetting(t, { partitions: 4 }, ['a', 'b']);
  const { deployment, use } = setting;
  const [a, b] = deployment.config.shards as unknown as readonly [ShardOption, ShardOption];
  const proxy = use(await startProxy(b.url));
  const options = { ...deployment.options, shards: [a, { name: 'b', url: proxy.url }], l3TimeoutMs: 2000 };
  return { ...setting, proxy, options };
}

/** Ids of the partitions that a shard has. */
function idsAt({ lanes, shards }: Deployment, name: string, count: number): string[] {
  const ids: string[] = [];
  for (let n = 0; ids.length < count; n++) {
    if (shards.of(lanes.of(`k.${n}`)).name === name) ids.push(`k.${n}`);
  }
  return ids;
}

for (const how of ['refuse', 'freeze'] as const) {
  test(`I3 I7: while a shard is away (${how}) the partitions of the others settle, and nothing of it is lost or denied`, async (t) => {
    const { deployment, use, proxy, options } = await setUp(t);
    const store = use(await openStore({ ...options, l1MaxBytes: 0 }));
    use(await startDrain(options));
    const here = idsAt(deployment, 'a', 20);
    const there = idsAt(deployment, 'b', 20);
    const write = (ids: readonly string[], content: number) =>
      store.submitMany(ids.map((id) => ({ id, content })));
    await (await write([...here, ...there], 1)).settled();
    const reader = use(await openReader({ ...options, l1MaxBytes: 0, filterMaxBytes: 0 }));
    await proxy[how]();
    const waiting = await write(there, 2);
    for (const content of [2, 3]) t.is((await (await write(here, content)).settled()).succeeded, 20);
    await deployment.items.drop([...here, ...there]);
    await t.throwsAsync(reader.get(there[0] as string), {
      instanceOf: TierUnavailableError,
      message: /shard b/,
    });
    await t.throwsAsync(reader.countPrefix('k.'), { instanceOf: TierUnavailableError, message: /shard b/ });
    t.like(await reader.get(here[0] as string), { content: 3 });
    await proxy.open();
    t.is((await waiting.settled()).succeeded, 20);
    await eventually(async () => (await reader.countPrefix('k.')) === 40, 'all are counted again');
    const found = await reader.getMany([...here, ...there]);
    t.deepEqual(
      found.map((item) => item?.content),
      [...here.map(() => 3), ...there.map(() => 2)],
    );
  });
}

test('I3: a worker that was started with one database is refused once that is one of several', async (t) => {
  const { deployment, use } = await createSetting(t, { partitions: 2 });
  const second = await createSetting(t, { partitions: 1 });
  await migrate(deployment.options.databaseUrl);
  const stale = await startDrain(deployment.options);
  const store = use(await openStore(deployment.options));
  await (await store.submit({ id: 'x', content: 1 })).settled();
  const shards = [
    { name: 'a', url: deployment.options.databaseUrl },
    { name: 'b', url: second.deployment.options.databaseUrl },
  ];
  await migrateShards(shards);
  const ticket = await store.submit({ id: 'x', content: 2 });
  const refused = await deployment.pool
    .query(`INSERT INTO merkle_delta DEFAULT VALUES`)
    .catch((error: unknown) => error);
  t.regex((refused as Error).message, /restart this process with TIERLINE_SHARDS/);
  const rows = async () => (await deployment.pool.query('SELECT content::text FROM items')).rows;
  t.deepEqual(await rows(), [{ content: '1' }]);
  await stale.close();
  use(await startDrain({ ...deployment.options, shards }));
  t.is((await ticket.settled()).status, 'applied');
  t.deepEqual(await rows(), [{ content: '2' }]);
});
