import { randomUUID } from 'node:crypto';
import type { Row } from '../src/batch/fold.ts';
import { type Digester, hashContent, ZERO_DIGEST } from '../src/merkle/digest.ts';
import { applyRows } from '../src/postgres/apply-batch.ts';
import { foldDeltas } from '../src/postgres/merkle-delta.ts';
import type { Pool } from '../src/postgres/pool.ts';
import type { NewItem } from '../src/types/write.ts';

export const BATCH_ROWS = 1000;
/** Items whose JSON is in memory at once while a large table is filled. */
const FILL_ROWS = 2000;

/** Items as a drain worker gives them to Postgres, in the order of their ids, stamped from `firstStamp` on. */
export function rowsOf(items: readonly NewItem[], firstStamp: number, digester: Digester): Row[] {
  const rows = items.map(({ id, content }, i): Row => {
    const body = JSON.stringify(content);
    const contentHash = hashContent(body);
    const contentVersion = firstStamp + i;
    return {
      id,
      contentVersion,
      deleted: false,
      binary: false,
      body,
      contentHash,
      stateVersion: 0,
      state: 'default',
      tiers: 'all',
      ttlMs: 0,
      traceParent: null,
      contentDigest: digester.content(id, contentVersion, contentHash),
      stateDigest: ZERO_DIGEST,
    };
  });
  return rows.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** Stores `count` items in each of the databases, the same rows in all, with their hash trees. */
export async function fill(
  pools: readonly Pool[],
  count: number,
  firstStamp: number,
  digester: Digester,
  itemAt: (i: number) => NewItem,
): Promise<void> {
  let at = 0;
  const write = async () => {
    while (at < count) {
      const from = at;
      at += FILL_ROWS;
      const items = Array.from({ length: Math.min(FILL_ROWS, count - from) }, (_, i) => itemAt(from + i));
      const rows = rowsOf(items, firstStamp + from, digester);
      await Promise.all(pools.map((pool) => applyRows(pool, rows, randomUUID())));
      if (from % (100 * FILL_ROWS) === 0) await Promise.all(pools.map((pool) => foldDeltas(pool)));
    }
  };
  // Two at once: serialising and hashing for one takes as long as Postgres takes for the other.
  await Promise.all([write(), write()]);
  for (const pool of pools) {
    await foldDeltas(pool);
    await pool.query('VACUUM ANALYZE');
  }
}
