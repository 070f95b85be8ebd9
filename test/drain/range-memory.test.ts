import test from 'ava';
import { claimMerkleKey } from '../../src/postgres/merkle-key.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { runInHeap } from '../helpers/heap-use.ts';
import type { RangeDeleteReport } from '../helpers/range-deleting.ts';

const ROWS = 100_000;
/** Long ids: a worker that keeps those of a whole range would show it. */
const ID_BYTES = 250;
const MAX_HEAP_MB = 64;
/** What a heap differs by between two runs of the same work. */
const TOLERANCE = 1.25;

test('I10: a range delete of four times the rows needs no more memory', async (t) => {
  const deployment = await createDeployment();
  t.teardown(() => deployment.close());
  // The rows below have no digests that could tell the key.
  await claimMerkleKey(deployment.pool, undefined);
  const remove = async (prefix: string, count: number) => {
    await deployment.pool.query(
      `INSERT INTO items (id, content_version, deleted, content, content_hash, state_version, state, tombstone_week, id_hash, digest_hi, digest_lo, state_digest_hi, state_digest_lo, batch_id)
       SELECT '${prefix}' || lpad(n::text, ${ID_BYTES - prefix.length}, '0'), n, false, '1', '\\x00', 0, 'default', 0, 0, 0, 0, 0, 0, gen_random_uuid()
       FROM generate_series(1, ${count}) n`,
    );
    return runInHeap<RangeDeleteReport>('range-deleting.js', [prefix], {
      env: deployment.env,
      maxHeapMb: MAX_HEAP_MB,
    });
  };
  const quarter = await remove('few.', ROWS / 4);
  const whole = await remove('many.', ROWS);
  t.is(quarter.deleted, ROWS / 4);
  t.is(whole.deleted, ROWS);
  t.log(`alive at most: ${quarter.heapBytes} bytes for a quarter, ${whole.heapBytes} for the whole`);
  t.true(whole.heapBytes < quarter.heapBytes * TOLERANCE);
});
