import { hashContent } from '../src/merkle/digest.ts';
import type { BenchOptions, Emit } from './metric.ts';
import { merkleDiffs } from './merkle-diffs.ts';
import { merkleGrowth } from './merkle-growth.ts';
import { repairRate } from './merkle-repair.ts';
import type { NewItem } from '../src/types/write.ts';

const DIFFERING = [10, 1000] as const;

/**
 * What the hash tree costs as it grows, what a comparison over HTTP sends, and how fast a repair is. With `--items N` all tables
 * are as much smaller: the names of the metrics tell the sizes of a run without it.
 */
export async function merkleBench(emit: Emit, { items: count = 1_000_000 }: BenchOptions): Promise<void> {
  await merkleGrowth(emit, count, smallDocument);
  await merkleDiffs(emit, count, DIFFERING, smallDocument);
  await repairRate(emit, Math.ceil(count / 10));
}

/** About 100 bytes of JSON under 1,000 prefixes, the same for the same number. */
function smallDocument(i: number): NewItem {
  return { id: `doc.${i % 1000}.${i}`, content: { number: i, text: hashContent(`${i}`) } };
}
