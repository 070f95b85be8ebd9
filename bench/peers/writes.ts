import type { NewItem } from '../../src/types/write.ts';
import type { Deployment } from '../../test/helpers/deployment.ts';
import { documents } from '../documents.ts';
import type { Emit } from '../metric.ts';
import { rawUpsert } from '../raw-upsert.ts';
import { figure, inRounds } from '../rounds.ts';
import { type Usage, usageOf } from '../usage.ts';
import { BATCH } from './batcher.ts';
import { countOutOfOrder } from './order.ts';
import { countWrong, openQueue, openTierline, openWriteThrough, type Way } from './way.ts';
import { WRITE_PEERS } from './write-peers.ts';

/** Calls of `BATCH` items that the service has open at once. */
const CALLS_AT_ONCE = 4;

/** Of the items, those that the slowest peer gets: its jobs are as slow by the thousand as all of them. */
const SHARES: Readonly<Record<string, number>> = { bullmq_knex: 0.2 };

interface Run {
  /** Microseconds an item. */
  readonly us: number;
  /** Microseconds of processor time an item, in the service, the workers, Redis and Postgres together. */
  readonly cpuUs: number;
}

/** Handing in and draining together, with workers that run, as in production: all ways in turns. */
export async function writes(emit: Emit, deployment: Deployment, count: number): Promise<void> {
  const ways: Record<string, Way> = {};
  try {
    ways['tierline'] = await openTierline(deployment);
    for (const [name, peer] of Object.entries(WRITE_PEERS)) {
      ways[name] = await openQueue(name, peer, deployment);
    }
    ways['write_through'] = await openWriteThrough(deployment);
    await compare(emit, deployment, ways, count);
    for (const [name, way] of Object.entries(ways)) {
      emit(`${name}_out_of_order`, await countOutOfOrder(way, deployment), 'ids');
    }
  } finally {
    for (const way of Object.values(ways)) await way.close();
  }
}

async function compare(
  emit: Emit,
  deployment: Deployment,
  ways: Readonly<Record<string, Way>>,
  count: number,
): Promise<void> {
  let turn = 0;
  // New ids each time: a second write of an id is another kind of work.
  const fresh = (size: number) => documents(size, `turn${turn++}`);
  const measures = Object.entries(ways).map(([name, way]) => [
    name,
    async () => {
      const items = fresh(Math.ceil(count * (SHARES[name] ?? 1)));
      // Into an empty table, as the plain upsert.
      await deployment.pool.query(`TRUNCATE ${[way.table, ...way.moreTables].join()}`);
      const usage = await usageOf(deployment, way.pids, async () => {
        await inCalls(items, (call) => way.submit(call));
        await way.settled();
      });
      const wrong = await countWrong(way, deployment, items);
      if (wrong > 0) throw new Error(`${name}: ${wrong} of ${items.length} items are not stored`);
      return runOf(usage, items.length);
    },
  ]);
  const rounds = await inRounds<Record<string, Run>>({
    ...Object.fromEntries(measures),
    raw_upsert: async () =>
      runOf(await rawUpsert(deployment, fresh(count), (work) => usageOf(deployment, [], work)), count),
  });
  const names = [...Object.keys(ways), 'raw_upsert'];
  const run = (round: Record<string, Run>, name: string) => round[name] as Run;
  for (const name of names) {
    emit(
      `${name}_items_per_s`,
      figure(rounds, (round) => Math.round(1e6 / run(round, name).us)),
      'items/s',
    );
    emit(
      `${name}_cpu_us`,
      figure(rounds, (round) => run(round, name).cpuUs),
      'us/item',
    );
  }
  for (const name of names.slice(1)) {
    const ratio = figure(rounds, (round) => run(round, name).us / run(round, 'tierline').us);
    emit(`ratio_vs_${name}`, ratio, 'x');
  }
}

function runOf({ ms, spent }: Usage, count: number): Run {
  const cpuUs = spent.worker_cpu_us + spent.redis_cpu_us + spent.postgres_cpu_us + spent.client_cpu_us;
  return { us: (ms * 1000) / count, cpuUs: cpuUs / count };
}

/** Calls of `BATCH` items, a few at once. */
async function inCalls(
  items: readonly NewItem[],
  call: (items: readonly NewItem[]) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: CALLS_AT_ONCE }, async () => {
      while (next < items.length) {
        const from = next;
        next += BATCH;
        await call(items.slice(from, from + BATCH));
      }
    }),
  );
}
