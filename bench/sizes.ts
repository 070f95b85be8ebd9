import { openProducer } from '../src/producer/open-producer.ts';
import { memoryOf } from '../src/redis/masters.ts';
import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import { eventually } from '../test/helpers/eventually.ts';
import { startWorker } from '../test/helpers/worker-process.ts';
import { documents } from './documents.ts';
import { submitAll } from './drain.ts';
import type { BenchOptions, Emit } from './metric.ts';
import { writtenLog } from './usage.ts';

const MERKLE_TABLES = ['merkle_leaf', 'merkle_path', 'merkle_delta'];
const FOLD_MS = 120_000;

/** Bytes that an item takes while it waits, as a copy in L2, and as a row. Growth, so that what the servers hold anyway is left out. */
export async function sizesBench(emit: Emit, { items: count = 100_000 }: BenchOptions): Promise<void> {
  const deployment = await createDeployment();
  const producer = await openProducer(deployment.options);
  const items = documents(count);
  const perItem = (bytes: number) => Math.round(bytes / count);
  try {
    emit('content_bytes', perItem(JSON.stringify(items.map(({ content }) => content)).length), 'bytes/item');
    const empty = await usedBy(deployment);
    await submitAll(producer, items, 500 * deployment.lanes.count);
    const waiting = await usedBy(deployment);
    emit('redis_waiting_bytes', perItem(waiting.queue - empty.queue), 'bytes/item');

    const tablesBefore = await tableSizes(deployment);
    const logBefore = await writtenLog(deployment.pool);
    const worker = await startWorker('drain', deployment.env);
    const maintenance = await startWorker('maintenance', deployment.env);
    await producer.flush();
    await eventually(() => isFolded(deployment), 'the Merkle deltas are folded', FOLD_MS);
    await Promise.all([worker.stop(), maintenance.stop()]);
    const stored = await usedBy(deployment);
    const log = (await writtenLog(deployment.pool)) - logBefore;
    // The queue of a Redis that serves both is empty again: what has grown is the copies, and the feed, which is bounded.
    emit('redis_copy_bytes', perItem(stored.cache - empty.cache), 'bytes/item');
    await deployment.pool.query('VACUUM');
    const tables = await tableSizes(deployment);
    const grown = (key: keyof typeof tables) => perItem(tables[key] - tablesBefore[key]);
    emit('postgres_row_bytes', grown('rows'), 'bytes/item');
    emit('postgres_index_bytes', grown('indexes'), 'bytes/item');
    emit('postgres_merkle_bytes', grown('merkle'), 'bytes/item');
    // As Postgres comes: more when checkpoints are frequent.
    emit('postgres_wal_bytes', perItem(log), 'bytes/item');
  } finally {
    await producer.close();
    await deployment.close();
  }
}

async function usedBy({ redis, cache }: Deployment): Promise<{ queue: number; cache: number }> {
  const [queue, copies] = await Promise.all([memoryOf(redis), memoryOf(cache)]);
  return { queue: queue.used, cache: copies.used };
}

async function isFolded({ pool }: Deployment): Promise<boolean> {
  const { rows } = await pool.query<{ n: number }>('SELECT count(*)::int AS n FROM merkle_delta');
  return rows[0]?.n === 0;
}

async function tableSizes({ pool }: Deployment): Promise<{ rows: number; indexes: number; merkle: number }> {
  const { rows } = await pool.query<{ rows: number; indexes: number; merkle: number }>(
    `SELECT pg_table_size('items')::float8 AS rows, pg_indexes_size('items')::float8 AS indexes,
            (SELECT sum(pg_total_relation_size(t::regclass))::float8 FROM unnest($1::text[]) t) AS merkle`,
    [MERKLE_TABLES],
  );
  return rows[0] as { rows: number; indexes: number; merkle: number };
}
