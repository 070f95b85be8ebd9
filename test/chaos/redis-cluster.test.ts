import test, { type ExecutionContext } from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { QueueLostError, QueueUnavailableError, UnsafeServerError } from '../../src/errors.ts';
import { bucketOf } from '../../src/keys.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { type RedisCluster, startRedisCluster } from '../helpers/redis-cluster.ts';
import { serversOf } from '../helpers/redis-keys.ts';

async function setUp(t: ExecutionContext) {
  const cluster = await startRedisCluster();
  const deployment = await createDeployment({ redisUrl: cluster.url, enqueueTimeoutMs: 30_000 });
  const drain = await startDrain(deployment.options);
  const store = await openStore(deployment.options);
  const reader = await openReader(deployment.options);
  t.teardown(async () => {
    for (const thing of [reader, store, drain, deployment, cluster]) await thing.close();
  });
  return { cluster, deployment, drain, store, reader };
}

const idsOf = (name: string, count: number) => Array.from({ length: count }, (_, n) => `${name}.${n}`);

/** An id whose copy lies with another master than the queue. */
async function apart(cluster: RedisCluster, { keys }: Deployment): Promise<string> {
  const queue = await cluster.masterOf(keys.clock);
  for (const id of idsOf('apart', 200)) {
    if ((await cluster.masterOf(`{${bucketOf(id)}}`)) !== queue) return id;
  }
  throw new Error('every bucket lies with the queue');
}

test.serial(
  'I3 I6: a master of copies is killed under writes and reads: its copies alone are cold, and nothing is lost',
  async (t) => {
    const { cluster, deployment, store, reader } = await setUp(t);
    const ids = idsOf('a', 400);
    await (await store.submitMany(ids.map((id) => ({ id, content: 1 })))).settled();
    const lost = await apart(cluster, deployment);
    await (await store.submit({ id: lost, content: 1 })).settled();
    const before = deployment.items.session?.copies;
    const failingOver = cluster.failOver(`{${bucketOf(lost)}}`);
    const written = await store.submitMany([...ids, lost].map((id) => ({ id, content: 2 })));
    await failingOver;
    t.is((await written.settled()).succeeded, ids.length + 1);
    await eventually(() => deployment.items.session !== undefined, 'the copies are known again');
    const after = deployment.items.session?.copies;
    t.not(after?.generationOf(lost), before?.generationOf(lost), 'the replica may hold old copies');
    const kept = ids.filter((id) => after?.generationOf(id) === before?.generationOf(id));
    t.true(kept.length > 0, 'the copies of other masters stay warm');
    for (const got of await reader.getMany([...ids, lost])) t.is(got?.content, 2);
  },
);

test.serial(
  'I3 I8: the master of the queue fails over: what it lost rejects, the rest settles',
  async (t) => {
    const { cluster, deployment, store, reader } = await setUp(t);
    await (await store.submit({ id: 'before', content: 1 })).settled();
    const tickets = await Promise.all(idsOf('q', 200).map((id) => store.submit({ id, content: 1 })));
    const fates = tickets.map((ticket) =>
      ticket.settled().then(
        () => 'settled',
        (error: unknown) => (error instanceof QueueLostError ? 'lost' : String(error)),
      ),
    );
    await cluster.failOver(deployment.keys.clock);
    for (const fate of await Promise.all(fates)) t.true(fate === 'settled' || fate === 'lost', fate);
    await (await store.submit({ id: 'after', content: 2 })).settled();
    t.is((await reader.get('after'))?.content, 2);
    t.is((await reader.get('before'))?.content, 1);
  },
);

test.serial(
  'I3 I6: slots of copies and of the queue migrate under writes and reads, and the copies stay warm',
  async (t) => {
    const { cluster, deployment, store, reader } = await setUp(t);
    const ids = idsOf('m', 300);
    await (await store.submitMany(ids.map((id) => ({ id, content: 0 })))).settled();
    const before = deployment.items.session?.copies.generation;
    let version = 0;
    const write = async () => {
      version++;
      return store.submitMany(ids.map((id) => ({ id, content: version })));
    };
    const moved = [...new Set(ids.map(bucketOf))].slice(0, 3).map((bucket) => `{${bucket}}`);
    for (const key of [...moved, deployment.keys.clock]) {
      const writes: Promise<unknown>[] = [];
      await cluster.migrate(key, async () => {
        writes.push(write().then((batch) => batch.settled()));
        for (const got of await reader.getMany(ids)) t.true((got?.content as number) <= version);
      });
      await Promise.all(writes);
      await eventually(
        async () => (await reader.getMany(ids)).every((got) => got?.content === version),
        'one delivery of the feed later the reader has what settled',
      );
    }
    const other = await openReader(deployment.options);
    t.teardown(() => other.close());
    for (const got of await other.getMany(ids)) t.is(got?.content, version);
    await deployment.generation.confirm();
    await eventually(() => deployment.items.session !== undefined, 'the copies are known');
    t.is(deployment.items.session?.copies.generation, before, 'slots that migrate carry their copies');
  },
);

test.serial('I8: a cluster with a slot that no server has is told with the fix', async (t) => {
  const cluster = await startRedisCluster();
  t.teardown(() => cluster.close());
  await cluster.uncover('{tierline}:clock');
  const error = await t.throwsAsync(openProducer({ redisUrl: cluster.url, enqueueTimeoutMs: 2000 }), {
    instanceOf: QueueUnavailableError,
  });
  t.regex(error.message, /CLUSTERDOWN: 16383 of 16384 slots .* --cluster check/);
});

test.serial('I3: one master of a cluster that may evict is refused', async (t) => {
  const cluster = await startRedisCluster();
  t.teardown(() => cluster.close());
  await cluster.configure('{0}', 'maxmemory-policy', 'allkeys-lru');
  await t.throwsAsync(openProducer({ redisUrl: cluster.url }), {
    instanceOf: UnsafeServerError,
    message: /maxmemory-policy is allkeys-lru/,
  });
});

test.serial('I8: a password that a cluster does not take is told with the fix', async (t) => {
  const cluster = await startRedisCluster();
  t.teardown(() => cluster.close());
  const redisUrl = cluster.url.replace('://', '://nobody:wrong@');
  await t.throwsAsync(openProducer({ redisUrl, enqueueTimeoutMs: 5000, logLevel: 'silent' }), {
    instanceOf: QueueUnavailableError,
    message: /WRONGPASS.*correct user and password in REDIS_URL/,
  });
});

test.serial(
  'all connections of a process to one cluster together ask every two seconds who has which slot',
  async (t) => {
    const { deployment } = await setUp(t);
    const servers = serversOf(deployment.redis);
    const questions = async () => {
      const stats = await Promise.all(servers.map((server) => server.info('commandstats')));
      return stats.reduce(
        (sum, text) => sum + Number(/cmdstat_cluster\|slots:calls=(\d+)/.exec(text)?.[1] ?? 0),
        0,
      );
    };
    // Those of the opening may still be on their way.
    await eventually(
      async () => {
        const [before, began] = [await questions(), performance.now()];
        await eventually(async () => (await questions()) >= before + 3, 'they ask', 60_000);
        return performance.now() - began > 3000;
      },
      'three questions take their time',
      60_000,
    );
    t.pass();
  },
);
