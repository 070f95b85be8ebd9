import test from 'ava';
import { raiseClock } from '../../src/redis/chunk-notes.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { runInHeap } from '../helpers/heap-use.ts';
import type { ScanReport } from '../helpers/scanning.ts';

const ROWS = 400_000;
/** All items together need more. */
const MAX_HEAP_MB = 64;
const CONTENT_BYTES = 128;
/** What a heap differs by between two runs of the same work. */
const TOLERANCE = 1.25;

test('I10: a scan of four times the rows needs no more memory, streams in order, and counts agree', async (t) => {
  const deployment = await createDeployment();
  t.teardown(() => deployment.close());
  await deployment.pool.query(
    `INSERT INTO items (id, content_version, deleted, content, content_hash, state_version, state, tombstone_week, id_hash, digest_hi, digest_lo, state_digest_hi, state_digest_lo, batch_id)
     SELECT 'row.' || n % 4 || '.' || lpad(n::text, 7, '0'), n, false, to_json(repeat('x', ${CONTENT_BYTES})), '\\x00', 0, 'default', 0, 0, 0, 0, 0, 0, gen_random_uuid()
     FROM generate_series(1, ${ROWS}) n`,
  );
  // As a worker does: a version above the clock would count as not settled.
  await raiseClock(deployment.redis, deployment.keys, ROWS);
  const scan = (prefix: string) =>
    runInHeap<ScanReport>('scanning.js', [prefix], { env: deployment.env, maxHeapMb: MAX_HEAP_MB });
  const quarter = await scan('row.0.');
  const whole = await scan('row.');
  t.like(quarter, { seen: ROWS / 4, counted: ROWS / 4, ordered: true });
  t.like(whole, { seen: ROWS, counted: ROWS, ordered: true });
  t.log(`alive at most: ${quarter.heapBytes} bytes for a quarter, ${whole.heapBytes} for the whole`);
  t.true(whole.heapBytes < quarter.heapBytes * TOLERANCE);
});
