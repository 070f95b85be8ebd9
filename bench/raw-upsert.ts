import { randomUUID } from 'node:crypto';
import type { NewItem } from '../src/types.ts';
import { hashContent, keyHash } from '../src/merkle/digest.ts';
import { byteaArray, digestHalfArray, int4Array, int8Array, textArray } from '../src/postgres/arrays.ts';
import { createPool } from '../src/postgres/pool.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { timed } from './metric.ts';

const CONNECTIONS = 4;
const BATCH = 1000;

const UPSERT = `
INSERT INTO raw_items (id, content_version, deleted, content, content_hash, state_version, state, gen, kh, x0, x1, s0, s1, batch_id)
SELECT id, cv, false, body, hash, 0, 'default', 0, kh, x0, x1, 0, 0, $8::uuid
FROM unnest($1::text[], $2::bigint[], $3::json[], $4::bytea[], $5::int[], $6::bigint[], $7::bigint[]) i(id, cv, body, hash, kh, x0, x1)
ON CONFLICT (id) DO UPDATE SET content_version = EXCLUDED.content_version, content = EXCLUDED.content,
  content_hash = EXCLUDED.content_hash, x0 = EXCLUDED.x0, x1 = EXCLUDED.x1, batch_id = EXCLUDED.batch_id, updated_at = now()`;

/**
 * The ceiling: the same columns, keys and indexes, written by plain batched upserts over four connections, with nothing
 * else: no order guard, no Merkle, no queue, no Redis. Parameters are encoded before the clock starts.
 */
export async function rawUpsertMs(deployment: Deployment, items: readonly NewItem[]): Promise<number> {
  const pool = createPool(deployment.config.databaseUrl, CONNECTIONS, deployment.log);
  await pool.query('CREATE TABLE raw_items (LIKE items INCLUDING DEFAULTS INCLUDING INDEXES) WITH (fillfactor = 85)');
  const batches: unknown[][] = [];
  for (let at = 0; at < items.length; at += BATCH) batches.push(parameters(items.slice(at, at + BATCH), at));
  try {
    return await timed(() =>
      Promise.all(
        Array.from({ length: CONNECTIONS }, async () => {
          for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) {
            await pool.query({ name: 'raw-upsert', text: UPSERT, values: batch });
          }
        }),
      ),
    );
  } finally {
    await pool.query('DROP TABLE raw_items');
    await pool.end();
  }
}

function parameters(items: readonly NewItem[], from: number): unknown[] {
  const bodies = items.map((item) => JSON.stringify(item.content));
  const hashes = bodies.map(hashContent);
  const digests = hashes.map((hash) => Buffer.from(hash, 'base64url').toString('hex'));
  return [
    textArray(items.map((item) => item.id)),
    int8Array(items.map((_, i) => 1_700_000_000_000_000 + from + i)),
    textArray(bodies, 'json'),
    byteaArray(hashes, 'base64url'),
    int4Array(items.map((item) => keyHash(item.id))),
    digestHalfArray(digests, 'first'),
    digestHalfArray(digests, 'last'),
    randomUUID(),
  ];
}
