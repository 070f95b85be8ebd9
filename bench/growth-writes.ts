import { foldDeltas } from '../src/postgres/merkle-delta.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { submitAll } from './drain.ts';
import type { GrowingTable, Step } from './growing-table.ts';
import { type Emit, perSecond, timed } from './metric.ts';
import type { QueuedWrites } from './queued-writes.ts';
import { createRawTable, deleteAll, upsertAll } from './raw-upsert.ts';
import { figure, inRounds } from './rounds.ts';

const ROUNDS = 3;
const MOST_OF_A_KIND = 20_000;
const PER_CALL = 500;
const KINDS = ['update', 'insert', 'delete'] as const;

type Spent = Readonly<Record<(typeof KINDS)[number], number>>;

/**
 * Random updates, new items and random deletes drained through all tiers, against plain statements for the same items on a table of
 * the same columns, indexes and rows; then how fast the deltas of the hash tree are folded.
 */
export async function growthOfWrites(
  emit: Emit,
  { pool }: Deployment,
  table: GrowingTable,
  queued: QueuedWrites,
  size: number,
  at: string,
): Promise<void> {
  await createRawTable(pool);
  const count = Math.min(MOST_OF_A_KIND, size / 2);
  // The first round does not count, but it is written.
  const steps = Array.from({ length: ROUNDS + 1 }, () => table.step(count));
  const rounds = await inRounds(
    {
      drained: stepByStep(steps, async ({ updated, inserted, deleted }) => {
        const spent: Spent = {
          update: await queued.drain((producer) => submitAll(producer, updated, PER_CALL), timed),
          insert: await queued.drain((producer) => submitAll(producer, inserted, PER_CALL), timed),
          delete: await queued.drain((producer) => producer.deleteMany(deleted), timed),
        };
        return { ...spent, fold: await timed(() => foldDeltas(pool)) };
      }),
      plain: stepByStep(
        steps,
        async ({ updated, inserted, deleted }): Promise<Spent> => ({
          update: await upsertAll(pool, updated, timed),
          insert: await upsertAll(pool, inserted, timed),
          delete: await timed(() => deleteAll(pool, deleted)),
        }),
      ),
    },
    ROUNDS,
  );
  for (const kind of KINDS) {
    emit(
      `${kind}_items_per_s_${at}`,
      figure(rounds, ({ drained }) => perSecond(count, drained[kind])),
      'items/s',
    );
    emit(
      `plain_${kind}_items_per_s_${at}`,
      figure(rounds, ({ plain }) => perSecond(count, plain[kind])),
      'items/s',
    );
    emit(
      `${kind}_ratio_${at}`,
      figure(rounds, ({ drained, plain }) => plain[kind] / drained[kind]),
      'ratio',
    );
  }
  const folded = KINDS.length * count;
  emit(
    `fold_items_per_s_${at}`,
    figure(rounds, ({ drained }) => perSecond(folded, drained.fold)),
    'items/s',
  );
}

/** Does the next step with each call. */
function stepByStep<T>(steps: readonly Step[], work: (step: Step) => Promise<T>): () => Promise<T> {
  const left = [...steps];
  return () => work(left.shift() as Step);
}
