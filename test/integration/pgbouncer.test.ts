import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { replayLetter } from '../../src/maintenance/replay.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { openQueue } from '../../src/redis/bull-queue.ts';
import { WRITES_QUEUE } from '../../src/keys.ts';
import { foldDeltas, purgeTombstones } from '../../src/postgres/merkle-delta.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { listDeadLetters } from '../../src/postgres/dead-letters.ts';
import { readSnapshot } from '../../src/postgres/filter-snapshots.ts';
import { migrate, rollback } from '../../src/postgres/migrator.ts';
import { createPool } from '../../src/postgres/pool.ts';
import { Shards } from '../../src/postgres/shards.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import { eventually } from '../helpers/eventually.ts';
import { ONE_LANE } from '../helpers/deployment.ts';
import { startPgBouncer } from '../helpers/pgbouncer.ts';
import { refusePoison } from '../helpers/poison.ts';
import { startProxy } from '../helpers/proxy.ts';
import { createSetting } from '../helpers/setting.ts';
import { startWorker } from '../helpers/worker-process.ts';

test('everything works through PgBouncer in transaction mode, with fewer connections than clients (I1 to I9)', async (t) => {
  const { deployment, use } = await createSetting(t, ONE_LANE);
  const { pool: direct, log, redis, keys, config } = deployment;
  const { urlOf, close } = await startPgBouncer(deployment.options.databaseUrl);
  use({ close });
  const databaseUrl = urlOf(deployment.options.databaseUrl);
  const options = { ...deployment.options, databaseUrl, filterSnapshotEveryMs: 100, foldEveryMs: 100 };
  const pool = createPool(databaseUrl, 4, log);
  use({ close: () => pool.end() });

  await rollback(databaseUrl);
  const ran = await Promise.all([migrate(databaseUrl), migrate(databaseUrl), migrate(databaseUrl)]);
  t.is(ran.filter((names) => names.length > 0).length, 1, 'migrations wait for each other');

  const env = { ...deployment.env, DATABASE_URL: databaseUrl };
  const workers = await Promise.all([startWorker('drain', env), startWorker('drain', env)]);
  use({ close: () => Promise.all(workers.map((worker) => worker.stop())) });
  use(await startDrain(options));
  use(await startMaintenance(options));
  const store = use(await openStore(options));

  const items = Array.from({ length: 5000 }, (_, n) => ({ id: `p.${n % 10}.${n}`, content: { n } }));
  const batch = await store.submitMany(items, { state: 'open' });
  t.like(await batch.settled(), { total: 5000, succeeded: 5000, failed: 0 });
  const group = await store.submitMany(
    ['a', 'b', 'c'].map((id) => ({ id, content: id })),
    { atomic: true },
  );
  t.is((await group.settled()).succeeded, 3);
  t.is((await (await store.setState('a', 'closed')).settled()).status, 'applied');
  t.is((await (await store.delete('b')).settled()).status, 'applied');

  const reader = use(await openReader({ ...options, l1MaxBytes: 0 }));
  // Reads by id that go to Postgres, many at once.
  await deployment.emptyRedis();
  const found = await Promise.all(items.slice(0, 1000).map(({ id }) => reader.get(id)));
  t.deepEqual(
    found.map((item) => item?.content),
    items.slice(0, 1000).map(({ content }) => content),
  );
  t.false(await reader.contains('b'));
  t.is(await reader.countByState('open'), 5000);
  t.is((await reader.getByState('closed')).items[0]?.id, 'a');
  let scanned = 0;
  for await (const item of reader.scanPrefix('p.')) {
    scanned++;
    t.is(item.state, 'open');
  }
  t.is(scanned, 5000);

  const { deleted } = await (await store.deletePrefix('p.3')).settled();
  t.is(deleted, 500);
  t.is((await (await store.deleteByState('closed')).settled()).deleted, 1);

  const poison = await refusePoison(direct);
  t.is((await (await store.submit({ id: 'bad', content: 'poison' })).settled()).status, 'dead');
  t.is((await (await store.submit({ id: 'good', content: 1 })).settled()).status, 'applied');
  await poison.lift();
  const [letter] = await listDeadLetters(pool, 10);
  const writes = use(openQueue(WRITES_QUEUE, redis, keys, log));
  const replayed = await replayLetter(
    {
      shards: new Shards([{ name: 'main', pool, server: '' }], log),
      redis,
      writes: [writes],
      lanes: deployment.lanes,
      config,
    },
    letter?.seq ?? 0,
  );
  t.is(replayed.status, 'replayed');
  t.is((await reader.get('bad'))?.content, 'poison');

  t.deepEqual(await verifyMerkle(pool), { ok: true, differences: [] });
  await Promise.all([foldDeltas(pool), foldDeltas(pool)]);
  t.deepEqual(await verifyMerkle(pool), { ok: true, differences: [] });
  t.is(await purgeTombstones(pool, (Date.now() + 15 * 24 * 3600 * 1000) * 1000), 502);
  t.deepEqual(await verifyMerkle(pool), { ok: true, differences: [] });
  const expected = 5000 + 3 - 502 + 2;
  t.is((await reader.merkle.root()).count, expected);
  await eventually(async () => (await readSnapshot(pool, 0)) !== undefined, 'a filter snapshot is stored');
  t.like((await reader.health()).postgres, { ok: true });
});

test('I3: Postgres restarted behind PgBouncer: what was accepted settles, and reads are answered again', async (t) => {
  const { deployment, use } = await createSetting(t, ONE_LANE);
  const relay = use(await startProxy(deployment.options.databaseUrl));
  const bouncer = use(await startPgBouncer(relay.url));
  const options = { ...deployment.options, databaseUrl: bouncer.urlOf(relay.url), l1MaxBytes: 0 };
  const drains = [use(await startDrain(options)), use(await startDrain(options))];
  t.is(drains.length, 2);
  const store = use(await openStore(options));
  const write = async (wave: number) =>
    store.submitMany(Array.from({ length: 300 }, (_, n) => ({ id: `k.${n}`, content: [wave, n] })));

  await (await write(0)).settled();
  const batches = [await write(1)];
  // As Postgres does when it shuts down; then nobody listens.
  await deployment.pool.query(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
  );
  await relay.refuse();
  batches.push(await write(2));
  await relay.open();
  batches.push(await write(3));
  for (const batch of batches) t.is((await batch.settled({ timeoutMs: 60_000 })).failed, 0);
  const items = await store.getMany(Array.from({ length: 300 }, (_, n) => `k.${n}`));
  t.deepEqual(
    items.map((item) => item?.content),
    Array.from({ length: 300 }, (_, n) => [3, n]),
  );
  t.deepEqual(await verifyMerkle(deployment.pool), { ok: true, differences: [] });
});
