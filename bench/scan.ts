import { raiseClock } from '../src/redis/chunk-notes.ts';
import { createDeployment } from '../test/helpers/deployment.ts';
import { runInHeap } from '../test/helpers/heap-use.ts';
import type { ScanReport } from '../test/helpers/scanning.ts';
import { type BenchOptions, type Emit, perSecond, timed } from './metric.ts';

/** Far more than a scan needs: the figure is what it takes, not what it is given. */
const MAX_HEAP_MB = 1024;

/** A scan of all rows in a process of its own: how fast it is, and how much of the heap is alive at most. */
export async function scanBench(emit: Emit, { items: count = 1_000_000 }: BenchOptions): Promise<void> {
  const deployment = await createDeployment();
  try {
    await deployment.pool.query(
      `INSERT INTO items (id, content_version, deleted, content, content_hash, state_version, state, tombstone_week, id_hash, digest_hi, digest_lo, state_digest_hi, state_digest_lo, batch_id)
       SELECT 'row.' || lpad(n::text, 7, '0'), n, false, '{"n":1}', '\\x00', 0, 'default', 0, 0, 0, 0, 0, 0, gen_random_uuid()
       FROM generate_series(1, ${count}) n`,
    );
    await raiseClock(deployment.redis, deployment.keys, count);
    let heapBytes = 0;
    const ms = await timed(async () => {
      const report = await runInHeap<ScanReport>('scanning.js', ['row.'], {
        env: deployment.env,
        maxHeapMb: MAX_HEAP_MB,
      });
      if (report.seen !== count) throw new Error(`saw ${report.seen} of ${count}`);
      heapBytes = report.heapBytes;
    });
    emit('rows_per_s', perSecond(count, ms), 'rows/s');
    emit('alive_heap_mb', heapBytes / 1e6, 'MB');
  } finally {
    await deployment.close();
  }
}
