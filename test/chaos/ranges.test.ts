import test, { type ExecutionContext } from 'ava';
import { openProducer } from '../../src/producer/open-producer.ts';
import type { Producer } from '../../src/types/write.ts';
import { merkleRoot } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import type { Pool } from '../../src/postgres/pool.ts';
import { decodeStored } from '../../src/schema/stored-item.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { modelRoot, modelRows } from '../helpers/model.ts';
import { refuseDeath } from '../helpers/poison.ts';
import { storedRows } from '../helpers/stored-rows.ts';
import { startWorker } from '../helpers/worker-process.ts';
import { getAll } from '../../src/redis/masters.ts';

/** The whole of 300,000 rows is `npm run soak`. */
const ROWS = Number(process.env['SOAK_ROWS'] ?? 20_000);
const WRITES_A_SECOND = 2000;
const WRITE_EVERY_MS = 50;
const idOf = (i: number) => `range.${i % 100}.${i}`;

test('I3 I4 I5: a range delete whose worker is killed resumes, counts exactly, and keeps what is written meanwhile', async (t) => {
  const deployment = await createDeployment({ ...ONE_LANE, chunkLockMs: 2000 });
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
  for (let at = 0; at < ROWS; at += 10_000) await producer.submitMany(items.slice(at, at + 10_000));
  await producer.flush();
  await countDeaths(pool);

  const kept = ['range.0.kept', 'range.5.kept', 'range.99.kept'];
  await producer.submitMany(kept.map((id) => ({ id, content: 'kept' })));
  await producer.flush();
  await refuseDeath(pool, kept);

  const range = await producer.deletePrefix('range.');
  const writer = keepWriting(producer);
  await eventually(
    async () => (await deletedSoFar(pool)) > ROWS / 3,
    'the range delete is in its middle',
    120_000,
  );
  await Promise.all(workers.map((worker) => worker.stop('SIGKILL')));
  workers.push(await startWorker('drain', env), await startWorker('drain', env));

  const { deleted, dead } = await range.settled();
  const revived = await writer.stop();
  await producer.flush();
  t.log(`${deleted} deleted, ${revived.size} ids written meanwhile`);

  const deaths = await pool.query<{ n: number }>('SELECT count(*) AS n FROM deaths WHERE stamp = $1', [
    range.version,
  ]);
  t.is(deleted, deaths.rows[0]?.n ?? 0, 'as many as died of it');
  t.true(deleted > 0 && deleted <= ROWS);
  t.is(dead, kept.length, 'rows that Postgres refused are told once each');
  const letters = await pool.query('SELECT FROM dead_letters WHERE attempts = 1');
  t.is(letters.rowCount, kept.length);
  for (const id of kept) revived.add(id);
  const live = await pool.query<{ id: string }>('SELECT id FROM items WHERE NOT deleted ORDER BY id');
  t.deepEqual(
    live.rows.map((row) => row.id),
    [...revived].toSorted(),
    'exactly what was written later is live',
  );
  t.is((await merkleRoot(pool)).count, revived.size);
  t.deepEqual(await verifyMerkle(pool), { ok: true, differences: [] });
  await isRebuiltRoot(t, pool);

  const gone = items.map((item) => item.id).filter((id) => !revived.has(id));
  for (let at = 0; at < gone.length; at += 10_000) {
    const ids = gone.slice(at, at + 10_000);
    const copies = await getAll(
      redis,
      ids.map((id) => keys.item(id)),
    );
    t.true(
      copies.every((copy, i) => copy === null || decodeStored(ids[i] as string, copy).kind === 'deleted'),
      'no copy of a deleted item is left in L2',
    );
  }
  t.is(await redis.zcard(keys.inflight), 0);
  t.is(await redis.zcard(keys.ranges), 0);
});

/** Later writes into the range, over its ids and new ones, at an even rate until told to stop. */
function keepWriting(producer: Producer): { stop(): Promise<Set<string>> } {
  const written = new Set<string>();
  const end = new AbortController();
  const size = (WRITES_A_SECOND * WRITE_EVERY_MS) / 1000;
  const work = (async () => {
    for (let i = 0; !end.signal.aborted; i++) {
      const due = new Promise((resolve) => setTimeout(resolve, WRITE_EVERY_MS));
      const ids = Array.from({ length: size }, (_, k) =>
        k % 4 === 0 ? `range.new.${i}.${k}` : idOf((i * 3701 + k * 11) % ROWS),
      );
      for (const id of ids) written.add(id);
      await producer.submitMany(ids.map((id) => ({ id, content: 'later' })));
      await due;
    }
  })();
  return {
    async stop() {
      end.abort();
      await work;
      return written;
    },
  };
}

/** Postgres itself notes every live row that becomes a tombstone: what the count of a range delete is held against. */
async function countDeaths(pool: Pool): Promise<void> {
  await pool.query('CREATE TABLE deaths (stamp bigint NOT NULL)');
  await pool.query(`CREATE FUNCTION note_death() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO deaths VALUES (NEW.content_version); RETURN NULL; END $$`);
  await pool.query(`CREATE TRIGGER note_death AFTER UPDATE ON items FOR EACH ROW
    WHEN (NEW.deleted AND NOT OLD.deleted) EXECUTE FUNCTION note_death()`);
}

async function deletedSoFar(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ deleted: number }>('SELECT deleted FROM range_deletes');
  return rows[0]?.deleted ?? 0;
}

/** Every digest computed again, from the ids and contents alone. */
async function isRebuiltRoot(t: ExecutionContext, pool: Pool): Promise<void> {
  const live = (await storedRows(pool)).filter((row) => !row.deleted);
  const writes = live.map(({ id, contentVersion: stamp, body = '' }) => ({
    id,
    stamp,
    kind: 'json' as const,
    body,
  }));
  t.deepEqual(await merkleRoot(pool), modelRoot(modelRows(writes)));
}
