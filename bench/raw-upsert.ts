import { randomUUID } from 'node:crypto';
import type { NewItem } from '../src/types/write.ts';
import { hashContent, keyHash } from '../src/merkle/digest.ts';
import { createPool, type Pool } from '../src/postgres/pool.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { type Measure, timed } from './metric.ts';

const CONNECTIONS = 4;
const BATCH = 1000;

const UPSERT = `
INSERT INTO raw_items (id, content_version, deleted, content, content_hash, state_version, state, tombstone_week, id_hash, digest_hi, digest_lo, state_digest_hi, state_digest_lo, batch_id)
SELECT id, version, false, body, hash, 0, 'default', 0, id_hash, digest_hi, digest_lo, 0, 0, $8::uuid
FROM unnest($1::text[], $2::bigint[], $3::json[], $4::bytea[], $5::int[], $6::bigint[], $7::bigint[]) i(id, version, body, hash, id_hash, digest_hi, digest_lo)
ON CONFLICT (id) DO UPDATE SET content_version = EXCLUDED.content_version, content = EXCLUDED.content,
  content_hash = EXCLUDED.content_hash, digest_hi = EXCLUDED.digest_hi, digest_lo = EXCLUDED.digest_lo, batch_id = EXCLUDED.batch_id, updated_at = now()`;

const TABLE =
  'CREATE TABLE raw_items (LIKE items INCLUDING DEFAULTS INCLUDING INDEXES) WITH (fillfactor = 85)';

/**
 * The ceiling: the same columns, keys and indexes, written by plain batched upserts over four connections, with nothing
 * else: no order guard, no Merkle, no queue, no Redis. Content is serialised and hashed before `measure` runs the upserts.
 */
export async function rawUpsert<T>(
  deployment: Deployment,
  items: readonly NewItem[],
  measure: Measure<T>,
): Promise<T> {
  const pool = createPool(deployment.config.databaseUrl, CONNECTIONS, deployment.log);
  await pool.query(TABLE);
  try {
    return await upsertAll(pool, items, measure);
  } finally {
    await pool.query('DROP TABLE raw_items');
    await pool.end();
  }
}

/** All items in batches, over four connections. */
export function upsertAll<T>(pool: Pool, items: readonly NewItem[], measure: Measure<T>): Promise<T> {
  const batches = batchesOf(items).map((batch, i) => parameters(batch, i * BATCH));
  return measure(() => overConnections(batches, (batch) => upsert(pool, batch)));
}

/** The same for deleting them. */
export function deleteAll(pool: Pool, ids: readonly string[]): Promise<unknown> {
  return overConnections(batchesOf(ids), (batch) =>
    pool.query({
      name: 'raw-delete',
      text: 'DELETE FROM raw_items WHERE id = ANY($1::text[])',
      values: [batch],
    }),
  );
}

function batchesOf<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / BATCH) }, (_, i) =>
    all.slice(i * BATCH, (i + 1) * BATCH),
  );
}

function overConnections<T>(batches: readonly T[], work: (batch: T) => Promise<unknown>): Promise<unknown> {
  const left = [...batches];
  return Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      for (let batch = left.shift(); batch !== undefined; batch = left.shift()) await work(batch);
    }),
  );
}

/** The same table to write into, with a copy of the rows that are stored. */
export async function createRawTable(pool: Pool): Promise<void> {
  await pool.query(`DROP TABLE IF EXISTS raw_items; ${TABLE}`);
  await pool.query('INSERT INTO raw_items SELECT * FROM items');
  await pool.query('VACUUM ANALYZE raw_items');
}

/** Milliseconds of one batch. */
export function rawBatchMs(pool: Pool, items: readonly NewItem[]): Promise<number> {
  const values = parameters(items, 0);
  return timed(() => upsert(pool, values));
}

function upsert(pool: Pool, values: unknown[]): Promise<unknown> {
  return pool.query({ name: 'raw-upsert', text: UPSERT, values });
}

/** Arrays as node-postgres takes them from anybody. */
function parameters(items: readonly NewItem[], from: number): unknown[] {
  const bodies = items.map((item) => JSON.stringify(item.content));
  const hashes = bodies.map((body) => Buffer.from(hashContent(body), 'hex'));
  return [
    items.map((item) => item.id),
    items.map((_, i) => 1_700_000_000_000_000 + from + i),
    bodies,
    hashes,
    items.map((item) => keyHash(item.id)),
    hashes.map((hash) => hash.readBigInt64BE(0)),
    hashes.map((hash) => hash.readBigInt64BE(8)),
    randomUUID(),
  ];
}
