import test from 'ava';
import { openProducer } from '../../src/producer/open-producer.ts';
import { merkleRoot, verifyMerkle } from '../../src/postgres/merkle-tables.ts';
import { decodeStored } from '../../src/schema/stored-item.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startWorker } from '../helpers/worker-process.ts';

const ROWS = 20_000;
const idOf = (i: number) => `range.${i % 100}.${i}`;

test('I3 I4 I5: a range delete whose worker is killed resumes, counts exactly, and keeps what is written meanwhile', async (t) => {
  t.timeout(180_000);
  const deployment = await createDeployment({ chunkLockMs: 2000 });
  const { pool, redis, keys } = deployment;
  const env = { ...deployment.env, TIERLINE_CHUNK_LOCK_MS: '2000' };
  const workers = [await startWorker('drain', env), await startWorker('drain', env)];
  const producer = await openProducer(deployment.options);
  t.teardown(async () => {
    await producer.close();
    await Promise.all(workers.map((worker) => worker.stop()));
    await deployment.close();
  });
  const items = Array.from({ length: ROWS }, (_, i) => ({ id: idOf(i), content: { i } }));
  await producer.submitMany(items);
  await producer.flush();

  const range = await producer.deletePrefix('range.');
  // Later writes into the range, all the while.
  const revived = new Set<string>();
  const stop = new AbortController();
  const writer = (async () => {
    for (let i = 0; !stop.signal.aborted; i = (i + 37) % ROWS) {
      const batch = Array.from({ length: 20 }, (_, k) => idOf((i + k * 11) % ROWS));
      for (const id of batch) revived.add(id);
      await producer.submitMany(batch.map((id) => ({ id, content: 'later' })));
    }
  })();
  await eventually(async () => {
    const { rows } = await pool.query<{ deleted: number }>('SELECT deleted FROM range_deletes');
    return (rows[0]?.deleted ?? 0) > 0;
  }, 'the range delete has begun');
  await Promise.all(workers.map((worker) => worker.stop('SIGKILL')));
  workers.push(await startWorker('drain', env), await startWorker('drain', env));

  const { deleted } = await range.settled();
  stop.abort();
  await writer;
  await producer.flush();

  const live = await pool.query<{ id: string }>('SELECT id FROM items WHERE NOT deleted ORDER BY id');
  t.deepEqual(
    live.rows.map((row) => row.id),
    [...revived].toSorted(),
    'exactly what was written later is live',
  );
  const overtaken = await pool.query<{ n: number }>(
    'SELECT count(*) AS n FROM items WHERE content_version > $1 AND created_at <= (SELECT created_at FROM range_deletes)',
    [range.version],
  );
  t.true(deleted <= ROWS && deleted >= ROWS - (overtaken.rows[0]?.n ?? 0), `${deleted} deleted`);
  t.is((await merkleRoot(pool)).count, revived.size);
  t.deepEqual(await verifyMerkle(pool), { ok: true, differences: [] });

  const gone = items.map((item) => item.id).filter((id) => !revived.has(id));
  const copies = await redis.mget(gone.map((id) => keys.item(id)));
  t.true(
    copies.every((copy, i) => copy === null || decodeStored(gone[i] as string, copy).kind === 'd'),
    'no copy of a deleted item is left in L2',
  );
  t.is(await redis.zcard(keys.inflight), 0);
  t.is(await redis.zcard(keys.ranges), 0);
});
