import { randomUUID } from 'node:crypto';
import { Digester } from '../src/merkle/digest.ts';
import { applyRows } from '../src/postgres/apply-batch.ts';
import { foldDeltas } from '../src/postgres/merkle-delta.ts';
import type { NewItem } from '../src/types/write.ts';
import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import { Random } from '../test/helpers/random.ts';
import { type Emit, timed } from './metric.ts';
import { createRawTable, rawBatchMs } from './raw-upsert.ts';
import { BATCH_ROWS, fill, rowsOf } from './stored-documents.ts';

const FIRST_STAMP = 1_700_000_000_000_000;
/** Of each kind; those that are compared take turns, because the machine is not as fast from one second to the next. */
const BATCHES = 30;
const WARM_UP_BATCHES = 5;
const LARGE_TO_SMALL = 100;
const WIDE_SHARE = 0.3;

/** The cost of a batch of changes to rows that are there, in a large and a small table, and under one wide parent. */
export async function merkleGrowth(emit: Emit, count: number, itemAt: (i: number) => NewItem): Promise<void> {
  const [large, small] = await Promise.all([createDeployment(), createDeployment()]);
  const digester = new Digester();
  const smallCount = Math.max(BATCH_ROWS, Math.ceil(count / LARGE_TO_SMALL));
  try {
    await fill([large.pool], count, FIRST_STAMP, digester, itemAt);
    await fill([small.pool], smallCount, FIRST_STAMP, digester, itemAt);
    for (const { pool } of [large, small]) await createRawTable(pool);

    const batches = new Batches(digester);
    const [onLarge, onSmall, rawLarge, rawSmall] = await inTurns([
      () => batches.apply(large, count, itemAt),
      () => batches.apply(small, smallCount, itemAt),
      () => batches.raw(large, count, itemAt),
      () => batches.raw(small, smallCount, itemAt),
    ] as const);
    emit('growth_1m_vs_10k', onLarge / onSmall, 'ratio');
    emit('plain_upsert_growth', rawLarge / rawSmall, 'ratio');

    const wideCount = Math.max(BATCH_ROWS, Math.ceil(count * WIDE_SHARE));
    const wideAt = (i: number) => ({ ...itemAt(i), id: `wide.${i}` });
    await fill([large.pool], wideCount, FIRST_STAMP, digester, wideAt);
    const [wide, spread] = await inTurns([
      () => batches.apply(large, wideCount, wideAt),
      () => batches.apply(large, wideCount, itemAt),
    ] as const);
    emit('wide_node_ratio', wide / spread, 'ratio');
  } finally {
    await large.close();
    await small.close();
  }
}

/** Batches of rows chosen at random, each newer than the last. Each is made before its clock starts. */
class Batches {
  readonly #random = new Random(1);
  readonly #digester: Digester;
  #stamp = 2 * FIRST_STAMP;

  constructor(digester: Digester) {
    this.#digester = digester;
  }

  async apply({ pool }: Deployment, count: number, itemAt: (i: number) => NewItem): Promise<number> {
    const rows = rowsOf(this.#chosen(count, itemAt), this.#stamp, this.#digester);
    const ms = await timed(() => applyRows(pool, rows, randomUUID()));
    await foldDeltas(pool);
    return ms;
  }

  raw({ pool }: Deployment, count: number, itemAt: (i: number) => NewItem): Promise<number> {
    return rawBatchMs(pool, this.#chosen(count, itemAt));
  }

  #chosen(count: number, itemAt: (i: number) => NewItem): NewItem[] {
    this.#stamp += BATCH_ROWS;
    const numbers = new Set<number>();
    while (numbers.size < Math.min(BATCH_ROWS, count)) numbers.add(this.#random.upTo(count) - 1);
    return [...numbers].map(itemAt);
  }
}

/** The median milliseconds of each. */
async function inTurns<const T extends readonly (() => Promise<number>)[]>(
  measures: T,
): Promise<{ [K in keyof T]: number }> {
  const found = measures.map((): number[] => []);
  for (let turn = 0; turn < WARM_UP_BATCHES + BATCHES; turn++) {
    for (const [i, measure] of measures.entries()) {
      const ms = await measure();
      if (turn >= WARM_UP_BATCHES) found[i]?.push(ms);
    }
  }
  return found.map((all) => all.toSorted((a, b) => a - b)[BATCHES / 2]) as { [K in keyof T]: number };
}
