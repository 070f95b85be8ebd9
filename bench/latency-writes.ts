import type { Producer } from '../src/types/write.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { Arrivals, arrive } from './arrivals.ts';
import { documents } from './documents.ts';
import type { Emit } from './metric.ts';
import { NaiveWriter } from './naive-writer.ts';
import { figure, inRounds } from './rounds.ts';

const RATES = [100, 1000, 10_000] as const;
const ROUNDS = 3;
const ITEMS = 10_000;
/** Enough of a round, so that at the highest rate what the hand-written worker falls behind is soon done. */
const MOST_CALLS = 10_000;
/** Workers live for weeks: both sides halve their times in the first 15,000 writes, while Node compiles (p50 9.6, 7.1, 5.3, 4.1 ms). */
const WARM_UP = { perSecond: 2000, ms: 7500 };

/**
 * From the moment a write was due until its caller knows that it has settled, against the hand-written worker, whose caller hears
 * of the end of its job. The percentiles are of all rounds together.
 */
export async function latencyOfWrites(
  emit: Emit,
  deployment: Deployment,
  producer: Producer,
  mostMs: number,
): Promise<void> {
  const items = documents(ITEMS);
  const itemOf = (n: number) => items[n % ITEMS] as (typeof items)[number];
  const naive = await NaiveWriter.open(deployment);
  const sides = {
    settle: async (n: number) => (await producer.submit(itemOf(n))).settled(),
    naive: (n: number) => naive.write(itemOf(n)),
  };
  try {
    await arrive(WARM_UP, sides.settle);
    await arrive(WARM_UP, sides.naive);
    for (const perSecond of RATES) {
      const schedule = { perSecond, ms: Math.min(mostMs, (MOST_CALLS * 1000) / perSecond) };
      const rounds = await inRounds(
        {
          settle: () => arrive(schedule, sides.settle),
          naive: () => arrive(schedule, sides.naive),
        },
        ROUNDS,
      );
      const when = `at_${perSecond}`;
      for (const side of ['settle', 'naive'] as const) {
        const all = Arrivals.together(rounds.map((round) => round[side]));
        all.emit(emit, side, when);
        emit(`${side}_reached_${when}`, all.reachedPerSecond, 'items/s');
      }
      for (const [name, share] of Object.entries({ p50: 0.5, p99: 0.99 })) {
        emit(
          `${name}_ratio_vs_naive_${when}`,
          figure(rounds, ({ settle, naive: plain }) => plain.percentile(share) / settle.percentile(share)),
          'ratio',
        );
      }
    }
  } finally {
    await naive.close();
  }
}
