import { createDeployment } from '../test/helpers/deployment.ts';
import { documents } from './documents.ts';
import { submitAll } from './drain.ts';
import { GrowingTable } from './growing-table.ts';
import { growthOfReads } from './growth-reads.ts';
import { growthOfStart } from './growth-start.ts';
import { growthOfWrites } from './growth-writes.ts';
import { type BenchOptions, type Emit, timed } from './metric.ts';
import { QueuedWrites } from './queued-writes.ts';

const SIZES = [10_000, 100_000, 1_000_000];
const WARM_UP = 40_000;

/** What each operation costs as the table grows, up to `--items` rows. */
export async function growthBench(emit: Emit, { items: most = 1_000_000 }: BenchOptions): Promise<void> {
  const deployment = await createDeployment();
  const table = new GrowingTable(deployment);
  const queued = await QueuedWrites.open(deployment);
  try {
    const sizes = [...SIZES.filter((size) => size < most), most];
    await table.growTo(sizes[0] as number);
    // New workers compile for a while. They do it with writes that the smallest table has already.
    const known = documents(sizes[0] as number);
    for (let written = 0; written < WARM_UP; written += known.length) {
      await queued.drain((producer) => submitAll(producer, known, 500), timed);
    }
    for (const size of sizes) {
      const at = `at_${nameOf(size)}`;
      await table.growTo(size);
      await growthOfWrites(emit, deployment, table, queued, size, at);
      await growthOfReads(emit, deployment, table, at);
      await growthOfStart(emit, deployment, at);
    }
  } finally {
    await queued.close();
    await deployment.close();
  }
}

/** 10k, 1m. */
function nameOf(size: number): string {
  if (size % 1_000_000 === 0) return `${size / 1_000_000}m`;
  return size % 1000 === 0 ? `${size / 1000}k` : `${size}`;
}
