import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { foldDeltas, purgeTombstones } from '../../src/postgres/merkle-delta.ts';
import { merklePrefix, merkleRoot } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { sweepOrphans, takeStamps } from '../../src/redis/chunk-notes.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { storedRows } from '../helpers/stored-rows.ts';
import { writerOf } from '../helpers/writer.ts';

async function setUp(t: ExecutionContext): Promise<Deployment> {
  const deployment = await createDeployment(ONE_LANE);
  t.teardown(() => deployment.close());
  return deployment;
}

const puts = (from: number, count: number): TestOp[] =>
  Array.from({ length: count }, (_, i) => ({
    id: `k.${i % 7}.${i}`,
    stamp: from + i,
    kind: 'json',
    body: '1',
  }));
const gone = (id: string, stamp: number): TestOp => ({ id, stamp, kind: 'delete' });
const deltas = async ({ pool }: Deployment) =>
  (await pool.query<{ n: number }>('SELECT count(*) AS n FROM merkle_delta')).rows[0]?.n;

test('I5: folding moves every delta into the tree and changes no answer, however many fold at once', async (t) => {
  const deployment = await setUp(t);
  const { pool } = deployment;
  for (const op of puts(1000, 450)) await writerOf(deployment).write([chunkOf([op])]);
  t.is(await deltas(deployment), 450);
  const before = [await merkleRoot(pool), await merklePrefix(pool, 'k.3')];
  const folded = await Promise.all([foldDeltas(pool), foldDeltas(pool), foldDeltas(pool)]);
  await foldDeltas(pool);
  t.true(folded.reduce((sum, n) => sum + n, 0) <= 450);
  t.is(await deltas(deployment), 0);
  t.deepEqual([await merkleRoot(pool), await merklePrefix(pool, 'k.3')], before);
  t.deepEqual((await verifyMerkle(pool)).differences, []);
  t.is(await foldDeltas(pool), 0);
});

test('I5: the check finds a row that was changed behind the tree, and a tree that was changed behind the rows', async (t) => {
  const deployment = await setUp(t);
  const { pool } = deployment;
  await writerOf(deployment).write([chunkOf(puts(1000, 50))]);
  await foldDeltas(pool);
  await pool.query(`UPDATE items SET digest_hi = digest_hi # 1 WHERE id = 'k.0.0'`);
  const { ok, differences } = await verifyMerkle(pool);
  t.false(ok);
  t.deepEqual(
    differences.filter(({ kind }) => kind === 'path').map(({ node }) => node),
    ['', 'k', 'k.0'],
  );
  t.is(differences.filter(({ kind }) => kind === 'leaf').length, 1);
  await pool.query(`UPDATE items SET digest_hi = digest_hi # 1 WHERE id = 'k.0.0'`);
  t.true((await verifyMerkle(pool)).ok);
  await pool.query(`UPDATE merkle_path SET item_count = item_count + 1 WHERE path = 'k.1'`);
  t.like((await verifyMerkle(pool)).differences, [{ kind: 'path', node: 'k.1', rows: 7, tree: 8 }]);
});

test('I4 I5: a purge drops the tombstones of weeks that are over, and nothing else', async (t) => {
  const deployment = await setUp(t);
  const { pool } = deployment;
  const week = 604_800_000_000;
  const writer = writerOf(deployment);
  await writer.write([
    chunkOf(puts(5, 10)),
    ...Array.from({ length: 1500 }, (_, i) => chunkOf([gone(`old.${i}`, week + i)])),
    chunkOf([gone('edge', 2 * week - 1)]),
    chunkOf([gone('later', 2 * week)]),
    chunkOf([{ id: 'stub', stamp: week + 3000, kind: 'state', state: 'open' }]),
  ]);
  const root = await merkleRoot(pool);
  t.is(await purgeTombstones(pool, 2 * week - 1), 0, 'the week is not over');
  t.is(await purgeTombstones(pool, 2 * week), 1502);
  t.deepEqual(
    (await storedRows(pool)).filter((row) => row.deleted).map((row) => row.id),
    ['later'],
  );
  t.deepEqual(await merkleRoot(pool), root, 'the live rows are as before');
  t.deepEqual((await verifyMerkle(pool)).differences, []);
  await foldDeltas(pool);
  t.deepEqual((await verifyMerkle(pool)).differences, []);
});

test('I3: the sweep clears what was stamped and never queued, once it is old enough, and nothing that waits', async (t) => {
  const { redis, keys, options } = await setUp(t);
  const orphans = Array.from({ length: 1200 }, (_, i) => `orphan.${i}`);
  await takeStamps(redis, keys, randomUUID(), orphans);
  t.deepEqual(
    await sweepOrphans(redis, keys, 60_000_000),
    { chunks: 0, ids: 0 },
    'it may still be on its way',
  );
  t.is(await redis.hlen(keys.pending), 1200);

  const producer = await openProducer(options);
  await producer.submit({ id: 'waiting', content: 1 });
  await takeStamps(redis, keys, randomUUID(), ['later']);
  const swept = await sweepOrphans(redis, keys, 0);
  t.is(swept.chunks, 2);
  t.is(await redis.zcard(keys.inflight), 1);
  t.is(await redis.hexists(keys.pending, 'waiting'), 1);
  t.is(await redis.hexists(keys.pending, 'orphan.0'), 0);
  t.is(
    await redis.hexists(keys.pending, 'later'),
    1,
    'above a chunk in flight nothing is known: it stays until that has settled',
  );
  await producer.close();
});

test('maintenance runs its chores in any number of processes, and stops cleanly', async (t) => {
  const deployment = await setUp(t);
  const options = { ...deployment.options, foldEveryMs: 100 };
  const running = [await startMaintenance(options), await startMaintenance(options)];
  await writerOf(deployment).write([chunkOf(puts(1000, 20))]);
  await eventually(async () => (await deltas(deployment)) === 0, 'the deltas are folded');
  t.deepEqual((await verifyMerkle(deployment.pool)).differences, []);
  await Promise.all(running.map((maintenance) => maintenance.close()));
  await running[0]?.close();
});
