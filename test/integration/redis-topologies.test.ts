import test, { type ExecutionContext } from 'ava';
import { openProducer } from '../../src/producer/open-producer.ts';
import { readBacklog } from '../../src/redis/backlog.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import { jsonOf, runCommand } from '../helpers/command-line.ts';
import { eventually } from '../helpers/eventually.ts';
import { startRedisCluster } from '../helpers/redis-cluster.ts';
import { startWatchedRedis } from '../helpers/redis-sentinel.ts';
import { closing, createSetting } from '../helpers/setting.ts';

const TOPOLOGIES = { cluster: startRedisCluster, sentinel: startWatchedRedis };
type Topology = keyof typeof TOPOLOGIES;

async function setUp(
  t: ExecutionContext,
  start: () => Promise<{ readonly url: string; close(): Promise<void> }>,
) {
  const redis = closing(t, await start());
  const { deployment, use, drain } = await createSetting(t, {
    redisUrl: redis.url,
    enqueueTimeoutMs: 30_000,
  });
  await drain();
  const store = use(await openStore(deployment.options));
  const reader = use(await openReader(deployment.options));
  return { deployment, store, reader };
}

for (const topology of Object.keys(TOPOLOGIES) as Topology[]) {
  test.serial(
    `${topology}: writes settle, are read from each tier, and ranges of them are deleted`,
    async (t) => {
      const { store, reader, deployment } = await setUp(t, TOPOLOGIES[topology]);
      const ids = Array.from({ length: 1200 }, (_, n) => `${n % 3 === 0 ? 'gone' : 'kept'}.${n}`);
      const batch = await store.submitMany(ids.map((id) => ({ id, content: { id }, state: 'open' })));
      t.like(await batch.settled(), { total: ids.length, succeeded: ids.length, failed: 0 });
      const found = await reader.getMany(ids);
      t.deepEqual(
        found.map((item) => item?.content),
        ids.map((id) => ({ id })),
      );
      t.is((await reader.lookup(ids[0] as string)).tier, 'l1');
      const cold = await openReader(deployment.options);
      t.teardown(() => cold.close());
      t.is((await cold.lookup(ids[1] as string)).tier, 'l2');
      t.is((await (await store.deletePrefix('gone.')).settled()).deleted, 400);
      t.is(await reader.countPrefix('kept.'), 800);
      t.is(await reader.countByState('open'), 800);
      t.false(await cold.contains('gone.0'));
      t.true(await cold.contains('kept.1'));
      t.is((await (await store.setState('kept.1', 'done')).settled()).status, 'applied');
      t.is(await store.getOrInsertWith('new', () => Promise.resolve(7)).then(({ content }) => content), 7);
      await store.flush();
      t.like(await readBacklog(deployment.redis, deployment.lanes), { pendingItems: 0, chunksInFlight: 0 });
      t.true((await reader.merkle.verify()).ok);
    },
  );

  test.serial(
    `I1: ${topology}: calls of a producer that do not wait for each other keep their order`,
    async (t) => {
      const { deployment } = await setUp(t, TOPOLOGIES[topology]);
      const producer = await openProducer({ ...deployment.options, chunkMaxItems: 1 });
      t.teardown(() => producer.close());
      const calls = Array.from({ length: 300 }, (_, n) =>
        n % 3 === 1 ? producer.delete('same') : producer.submit({ id: 'same', content: n }),
      );
      const versions = (await Promise.all(calls)).map(({ version }) => version);
      t.deepEqual(
        versions,
        versions.toSorted((a, b) => a - b),
      );
    },
  );

  test.serial(`${topology}: doctor, copies and the figures tell of all servers`, async (t) => {
    const { store, deployment, reader } = await setUp(t, TOPOLOGIES[topology]);
    await (await store.submitMany([1, 2, 3].map((n) => ({ id: `d.${n}`, content: n })))).settled();
    const { code, stdout, stderr } = await runCommand(deployment.env, ['doctor', '--json']);
    t.is(code, 0, stderr);
    const findings = jsonOf<Finding>(stdout);
    t.deepEqual(
      findings.filter(({ level }) => level === 'fail'),
      [],
    );
    t.is(
      findings.find(({ about }) => about === 'cluster')?.found,
      topology === 'cluster' ? '3 masters, each with a replica' : undefined,
    );
    await eventually(async () => (await reader.health()).status === 'ok', 'everything answers');
  });
}

test.serial(
  'I3 I6: Sentinel: the master is killed, and the replica takes its place without the copies of before',
  async (t) => {
    const redis = await startWatchedRedis();
    const { deployment, store, reader } = await setUp(t, async () => redis);
    await (await store.submit({ id: 'a', content: 1 })).settled();
    const before = deployment.items.session?.copies.generation;
    await redis.failOver();
    await (await store.submit({ id: 'a', content: 2 })).settled();
    await eventually(() => deployment.items.session !== undefined, 'the copies are known again');
    t.not(deployment.items.session?.copies.generation, before);
    await eventually(async () => (await reader.get('a'))?.content === 2, 'the reader has what settled');
  },
);
