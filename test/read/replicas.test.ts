import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { Registry } from 'prom-client';
import type { Options } from '../../src/config.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { createServiceMetrics } from '../../src/metrics/service-metrics.ts';
import { TierUnavailableError } from '../../src/errors.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { openReader } from '../../src/read/open-reader.ts';
import type { Reader } from '../../src/types/read.ts';
import type { Producer } from '../../src/types/write.ts';
import { createPool } from '../../src/postgres/pool.ts';
import { runCommand } from '../helpers/command-line.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startPgBouncer } from '../helpers/pgbouncer.ts';
import { type Replica, type Replication, startReplication } from '../helpers/postgres-replica.ts';
import { startProxy } from '../helpers/proxy.ts';
import { openReadSide } from '../helpers/read-side.ts';

let replication: Replication;
test.before(async () => {
  replication = await startReplication(3);
});
test.after.always(() => replication.close());

interface Scene {
  readonly deployment: Deployment;
  readonly producer: Producer;
  /** Opens a reader that asks Postgres for everything: it has no L1 and no filter. */
  read(replicaUrls: readonly string[], options?: Options): Promise<Reader>;
  urlOn(replica: Replica): string;
  /** Takes what was written out of L2. */
  evict(...ids: string[]): Promise<void>;
}

async function open(t: ExecutionContext): Promise<Scene> {
  const deployment = await createDeployment({
    ...ONE_LANE,
    databaseUrl: replication.primary.urlOf('postgres'),
  });
  const closing: { close(): Promise<void> }[] = [];
  t.teardown(async () => {
    for (const part of closing) await part.close();
    await deployment.close();
  });
  const producer = await openProducer(deployment.options);
  closing.push(producer, await startDrain(deployment.options));
  return {
    deployment,
    producer,
    async read(urls, options = {}) {
      const replicas = urls.map((url) => ({ shard: 'main', url }));
      const reader = await openReader({
        ...deployment.options,
        l1MaxBytes: 0,
        filterMaxBytes: 0,
        replicas,
        ...options,
      });
      closing.unshift(reader);
      return reader;
    },
    urlOn: (replica) => replica.urlOf(new URL(deployment.options.databaseUrl).pathname.slice(1)),
    async evict(...ids) {
      await deployment.items.drop(ids);
    },
  };
}

async function put(producer: Producer, contents: Readonly<Record<string, number>>): Promise<void> {
  const items = Object.entries(contents).map(([id, content]) => ({ id, content }));
  await (await producer.submitMany(items)).settled();
}

/** Reads an id that L2 lacks until a replica has answered. */
async function untilServed({ evict }: Scene, reader: Reader, id: string): Promise<void> {
  await eventually(async () => {
    await evict(id);
    const { hits, misses } = reader.counters.replicas;
    await reader.get(id);
    return reader.counters.replicas.hits + reader.counters.replicas.misses > hits + misses;
  }, 'a replica answers');
}

test.serial(
  'I7: a replica that has replayed everything answers for the primary, an absence included',
  async (t) => {
    const scene = await open(t);
    const { producer, read, urlOn, evict } = scene;
    const [first, second] = replication.replicas as [Replica, Replica];
    await put(producer, { a: 1, b: 2 });
    await evict('a', 'b');
    await first.caughtUp();
    await second.caughtUp();
    const reader = await read([urlOn(first), urlOn(second)]);
    await untilServed(scene, reader, 'a');

    const { l3, replicas } = reader.counters;
    const found = await reader.getMany(['a', 'none', 'b']);
    t.deepEqual(
      found.map((item) => item?.content),
      [1, undefined, 2],
    );
    t.true(await reader.contains('a'));
    t.false(await reader.contains('none'));
    t.deepEqual((await reader.lookup('b')).tier, 'l3');
    t.is(reader.counters.l3.requests, l3.requests, 'the primary was asked for no row');
    t.is(
      reader.counters.replicas.hits + reader.counters.replicas.misses,
      replicas.hits + replicas.misses + 6,
    );
  },
);

test.serial('I6 I7: while a replica stands still, reads answer as the primary does', async (t) => {
  const scene = await open(t);
  const { producer, read, urlOn, evict } = scene;
  const replica = replication.replicas[0] as Replica;
  await put(producer, { kept: 1, updated: 1, deleted: 1, 'range.a': 1, stated: 1 });
  await evict('kept', 'updated', 'deleted', 'range.a', 'stated');
  await replica.caughtUp();
  const reader = await read([urlOn(replica)]);
  await untilServed(scene, reader, 'kept');

  await replica.pause();
  t.teardown(() => replica.resume());
  await put(producer, { updated: 2, added: 1 });
  await (await producer.delete('deleted')).settled();
  await (await producer.deletePrefix('range.')).settled();
  await (await producer.setState('stated', 'open')).settled();
  await evict('updated', 'deleted', 'range.a', 'stated', 'added');
  // Opened afterwards: it remembers none of these changes.
  const late = await read([urlOn(replica)]);
  const changed = ['updated', 'deleted', 'range.a', 'stated', 'added'];
  const check = async (which: string, asked: Reader) => {
    t.is((await asked.get('updated'))?.content, 2, which);
    t.is((await asked.get('added'))?.content, 1, which);
    t.is(await asked.get('deleted'), undefined, which);
    t.is(await asked.get('range.a'), undefined, which);
    t.is((await asked.get('stated'))?.state, 'open', which);
    t.true(await asked.contains('added'), which);
    t.false(await asked.contains('deleted'), which);
    t.false(await asked.contains('range.a'), which);
  };
  for (let i = 0; i < 3; i++) {
    await check('at once', reader);
    await check('opened later', late);
    // Until the primary has been asked for its place.
    await sleep(120);
    await evict(...changed);
  }
  t.deepEqual(late.counters.replicas.hits + late.counters.replicas.misses, 0);
  // An id that none of the changes concerns needs nothing that the replica lacks.
  await evict('kept');
  const { hits } = reader.counters.replicas;
  t.is((await reader.get('kept'))?.content, 1);
  t.is(reader.counters.replicas.hits, hits + 1);

  await replica.resume();
  for (const asked of [reader, late]) {
    await untilServed(scene, asked, 'updated');
    await evict('updated');
    t.is((await asked.get('updated'))?.content, 2);
  }
});

test.serial('I6: rows of a replica are not written to L2', async (t) => {
  const scene = await open(t);
  const { producer, read, urlOn, evict, deployment } = scene;
  const replica = replication.replicas[0] as Replica;
  await put(producer, { a: 1, b: 1 });
  await evict('a', 'b');
  await replica.caughtUp();
  const reader = await read([urlOn(replica)]);
  await untilServed(scene, reader, 'a');
  const plain = await read([]);
  await plain.get('b');
  // The fill of a reader without replicas shows how long one takes.
  await eventually(
    async () => (await deployment.cache.exists(deployment.keys.item('b'))) === 1,
    'b is filled in',
  );
  t.is(await deployment.cache.exists(deployment.keys.item('a')), 0);
});

test.serial(
  'I6: an idle primary that has begun another file of its log leaves replicas in use',
  async (t) => {
    const scene = await open(t);
    const { producer, read, urlOn, evict } = scene;
    const replica = replication.replicas[0] as Replica;
    await put(producer, { a: 1 });
    await evict('a');
    await replication.primary.query('SELECT pg_switch_wal()');
    await replica.caughtUp();
    const reader = await read([urlOn(replica)]);
    await untilServed(scene, reader, 'a');
    t.pass();
  },
);

test.serial(
  'I8: a replica that is killed or hangs costs no read its answer, and comes back into use',
  async (t) => {
    const scene = await open(t);
    const { producer, read, urlOn, evict } = scene;
    const [first, second] = replication.replicas as [Replica, Replica];
    await put(producer, { a: 1 });
    await evict('a');
    await first.caughtUp();
    await second.caughtUp();
    const slow = await startProxy(urlOn(second));
    t.teardown(() => slow.close());
    const reader = await read([urlOn(first), slow.url], { l3TimeoutMs: 2000 });
    await untilServed(scene, reader, 'a');

    await first.kill();
    slow.freeze();
    for (let i = 0; i < 4; i++) {
      await evict('a');
      t.is((await reader.get('a'))?.content, 1);
    }
    const health = await reader.health();
    t.is(health.status, 'degraded');
    t.deepEqual(
      health.replicas.map(({ ok, state }) => ({ ok, state })),
      [
        { ok: false, state: 'away' },
        { ok: false, state: 'away' },
      ],
    );
    t.true(health.postgres.ok);

    await first.start();
    await slow.open();
    await eventually(
      () => reader.counters.replicas.servers.every(({ state }) => state === 'used'),
      'both are used again',
    );
    await untilServed(scene, reader, 'a');
  },
);

test.serial(
  'I6: a replica of another database, and the primary itself, are not read from, and health, doctor and metrics tell',
  async (t) => {
    const { producer, read, urlOn, deployment, evict } = await open(t);
    const other = await open(t);
    const replica = replication.replicas[0] as Replica;
    await put(producer, { a: 1 });
    await put(other.producer, { a: 2 });
    await evict('a');
    await replica.caughtUp();
    const reader = await read([other.urlOn(replica), deployment.options.databaseUrl, urlOn(replica)]);
    for (let i = 0; i < 20; i++) {
      await evict('a');
      t.is((await reader.get('a'))?.content, 1);
    }
    const health = await reader.health();
    t.deepEqual(
      health.replicas.map(({ state, ok, error }) => ({ state, ok, says: error !== undefined })),
      [
        { state: 'other-database', ok: false, says: true },
        { state: 'no-replica', ok: false, says: true },
        { state: 'used', ok: true, says: false },
      ],
    );

    const urls = [other.urlOn(replica), deployment.options.databaseUrl, urlOn(replica)];
    const env = { ...deployment.env, TIERLINE_REPLICAS: urls.join(',') };
    const { stdout } = await runCommand(env, ['doctor', '--json']);
    const findings = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { about: string; level: string; found: string });
    const found = findings.filter(({ about }) => about.startsWith('replica'));
    t.deepEqual(
      found.map(({ level }) => level),
      ['warn', 'warn', 'ok'],
    );
    t.regex(found[2]?.found ?? '', /bytes behind the primary/);

    const registry = new Registry();
    createServiceMetrics(registry).watchReader(reader);
    const text = await registry.metrics();
    const name = new URL(urlOn(replica)).host;
    t.regex(text, new RegExp(`tierline_replica_lag_bytes\\{replica="[^"]*${name}"\\} \\d`));
    t.regex(text, new RegExp(`tierline_replica_used\\{replica="[^"]*${name}"\\} [01]`));
    t.regex(text, /tierline_lookups_total\{tier="replica",result="hit"\} \d/);
  },
);

test.serial(
  'I7: while the feed is held up on its way, no replica answers for what has settled meanwhile',
  async (t) => {
    const { producer, urlOn, deployment } = await open(t);
    const replica = replication.replicas[0] as Replica;
    await put(producer, { a: 1 });
    await replica.caughtUp();
    const feed = await startProxy(deployment.config.redisUrl);
    const replicas = [{ shard: 'main', url: urlOn(replica) }];
    const config = { ...deployment.config, l1MaxBytes: 0, filterMaxBytes: 0, replicas };
    const side = await openReadSide({ ...deployment, config }, feed.url);
    t.teardown(async () => {
      await replica.resume();
      await feed.open();
      await side.close();
      await feed.close();
    });
    const hits = () => side.replicas?.counters.hits ?? 0;
    await eventually(async () => {
      const before = hits();
      await deployment.items.drop(['a']);
      return (await side.existence.exists('a')) && hits() > before;
    }, 'the replica answers');

    await replica.pause();
    feed.freeze();
    await put(producer, { a: 2, b: 1 });
    await deployment.items.drop(['a', 'b']);
    t.true(await side.existence.exists('b'));
    await deployment.items.drop(['a', 'b']);
    t.is((await side.reads.get('a'))?.content, 2);
  },
);

test.serial(
  'I7 I8: while the primary is away, a replica answers for what it has proof of, and nothing is denied',
  async (t) => {
    const scene = await open(t);
    const { producer, read, urlOn, deployment, evict } = scene;
    const replica = replication.replicas[0] as Replica;
    const primary = await startProxy(deployment.options.databaseUrl);
    t.teardown(() => primary.close());
    await put(producer, { a: 1, b: 1 });
    await evict('a', 'b');
    await replica.caughtUp();
    const reader = await read([urlOn(replica)], { databaseUrl: primary.url, l3TimeoutMs: 2000 });
    await untilServed(scene, reader, 'a');
    await primary.refuse();
    await evict('a', 'b');
    t.is((await reader.get('a'))?.content, 1);
    t.false(await reader.contains('none'));
    // Workers have another way to the primary.
    await put(producer, { b: 2, c: 1 });
    await evict('b', 'c');
    for (const ask of [() => reader.get('b'), () => reader.contains('c')]) {
      await t.throwsAsync(ask, { instanceOf: TierUnavailableError });
    }
    t.is((await reader.get('a'))?.content, 1);
  },
);

test.serial('I6: a replica is read from through PgBouncer in transaction mode', async (t) => {
  const scene = await open(t);
  const { producer, read, urlOn } = scene;
  const replica = replication.replicas[0] as Replica;
  await put(producer, { a: 1 });
  await replica.caughtUp();
  const pooler = await startPgBouncer(urlOn(replica));
  t.teardown(() => pooler.close());
  const reader = await read([pooler.urlOf(urlOn(replica))]);
  await untilServed(scene, reader, 'a');
  t.is(reader.counters.replicas.failures, 0);
});

/** Must be the last: it ends the replication. */
test.serial(
  'I6: after a failover a replica of the old timeline is not read from, and one that follows the new primary is',
  async (t) => {
    const { producer, urlOn, deployment } = await open(t);
    const [first, second, third] = replication.replicas as [Replica, Replica, Replica];
    await put(producer, { a: 1 });
    await first.caughtUp();
    await second.caughtUp();
    await third.caughtUp();
    await first.promote();
    await eventually(async () => {
      const [row] = await first.query<{ is: boolean }>('SELECT pg_is_in_recovery() AS is');
      return row?.is === false;
    }, 'the replica is promoted');
    await third.follow(first);
    // The old primary goes on, and the second replica with it: it stands further on than the new primary.
    for (let i = 0; i < 20; i++)
      await replication.primary.query("SELECT pg_logical_emit_message(false, 'x', repeat('x', 10000))");
    await second.caughtUp();
    const moved = { ...deployment.options, databaseUrl: urlOn(first) };
    const pool = createPool(moved.databaseUrl, 1, deployment.log);
    await pool.query(`UPDATE items SET content_version = content_version + 1, content = '2' WHERE id = 'a'`);
    await pool.end();
    await deployment.items.drop(['a']);

    const reader = await openReader({
      ...moved,
      l1MaxBytes: 0,
      filterMaxBytes: 0,
      replicas: [
        { shard: 'main', url: urlOn(second) },
        { shard: 'main', url: urlOn(first) },
        { shard: 'main', url: urlOn(third) },
      ],
    });
    t.teardown(() => reader.close());
    for (let i = 0; i < 20; i++) {
      await deployment.items.drop(['a']);
      t.is((await reader.get('a'))?.content, 2);
    }
    // Its control file tells the new timeline after a restart point.
    await eventually(async () => {
      await third.query('CHECKPOINT');
      await deployment.items.drop(['a']);
      const { hits } = reader.counters.replicas;
      t.is((await reader.get('a'))?.content, 2);
      return reader.counters.replicas.hits > hits;
    }, 'the replica of the new primary answers');
    await reader.health();
    t.deepEqual(
      reader.counters.replicas.servers.map(({ state }) => state),
      ['other-timeline', 'no-replica', 'used'],
    );
  },
);
