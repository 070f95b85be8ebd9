import type { NewItem, Producer } from '../src/types/write.ts';
import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import { residentMb } from './cpu.ts';
import { documents } from './documents.ts';
import { type BenchOptions, type Emit, perSecond } from './metric.ts';
import { naiveDrain, startNaive } from './naive.ts';
import { QueuedWrites } from './queued-writes.ts';
import { rawUpsert } from './raw-upsert.ts';
import { figure, inRounds } from './rounds.ts';
import { emitUsage, type Usage, usageOf } from './usage.ts';

/** Workers live for weeks: what Node spends on compiling in the first seconds is not their speed. */
export const WARM_UP = 40_000;
/** What a plain upsert uses. */
const PLAIN_KINDS = ['postgres_cpu_us', 'client_cpu_us', 'postgres_transactions', 'wal_bytes'] as const;

/** Jobs of the naive worker are as slow one by one as a hundred thousand of them. */
const NAIVE_SHARE = 0.2;

/** Drain throughput against the raw limit of Postgres and against what a team writes by hand, in turns. */
export async function drainBench(emit: Emit, { items: count = 100_000 }: BenchOptions): Promise<void> {
  const naiveCount = Math.ceil(count * NAIVE_SHARE);
  const deployment = await createDeployment();
  const queued = await QueuedWrites.open(deployment);
  const naive = await startNaive(deployment);
  // New ids each time: a second write of an id is another kind of work.
  let turn = 0;
  const fresh = (size: number) => documents(size, `turn${turn++}`);
  try {
    await drainItems(deployment, queued, documents(WARM_UP, 'warm'));
    const rounds = await inRounds({
      raw: () => rawUpsert(deployment, fresh(count), (work) => usageOf(deployment, [], work)),
      // Into empty tables, as the plain upsert.
      tierline: async () => {
        await deployment.pool.query('TRUNCATE items, merkle_delta');
        return drainItems(deployment, queued, fresh(count));
      },
      naive: async () => {
        await deployment.pool.query('TRUNCATE naive_items');
        return naiveDrain(naive, fresh(naiveCount), (work) =>
          usageOf(deployment, [naive.worker.pid as number], work),
        );
      },
    });
    const usages = <K extends keyof (typeof rounds)[number]>(name: K) => rounds.map((round) => round[name]);
    emit(
      'raw_upsert_items_per_s',
      figure(usages('raw'), ({ ms }) => perSecond(count, ms)),
      'items/s',
    );
    emit(
      'items_per_s',
      figure(usages('tierline'), ({ ms }) => perSecond(count, ms)),
      'items/s',
    );
    emit(
      'naive_items_per_s',
      figure(usages('naive'), ({ ms }) => perSecond(naiveCount, ms)),
      'items/s',
    );
    emit(
      'ratio_vs_raw_upsert',
      figure(rounds, ({ raw, tierline }) => raw.ms / tierline.ms),
      'ratio',
    );
    emit(
      'ratio_vs_naive',
      figure(rounds, ({ naive, tierline }) => naive.ms / naiveCount / (tierline.ms / count)),
      'ratio',
    );
    emit('worker_rss_mb', Math.max(...usages('tierline').map(({ rssMb }) => rssMb)), 'MB');
    emitUsage(emit, usages('tierline'), count);
    emitUsage(emit, usages('raw'), count, { prefix: 'raw_upsert_', kinds: PLAIN_KINDS });
    emitUsage(emit, usages('naive'), naiveCount, { prefix: 'naive_' });
  } finally {
    await naive.close();
    await queued.close();
    await deployment.close();
  }
}

interface Drained extends Usage {
  /** The most that one worker held. */
  readonly rssMb: number;
}

/** One drain by workers of its own. */
export async function tierlineDrain(deployment: Deployment, items: readonly NewItem[]): Promise<Drained> {
  const queued = await QueuedWrites.open(deployment);
  try {
    await drainItems(deployment, queued, documents(WARM_UP, 'warm'));
    return await drainItems(deployment, queued, items);
  } finally {
    await queued.close();
  }
}

async function drainItems(
  deployment: Deployment,
  queued: QueuedWrites,
  items: readonly NewItem[],
): Promise<Drained> {
  // Each partition gets full chunks.
  const submit = (producer: Producer) => submitAll(producer, items, 500 * deployment.lanes.count);
  let rssMb = 0;
  const watch = setInterval(() => {
    rssMb = Math.max(rssMb, ...queued.workerPids.map(residentMb));
  }, 250);
  try {
    const usage = await queued.drain(submit, (work) => usageOf(deployment, queued.workerPids, work));
    return { ...usage, rssMb };
  } finally {
    clearInterval(watch);
  }
}

export async function submitAll(
  producer: Producer,
  items: readonly NewItem[],
  perCall: number,
): Promise<void> {
  for (let at = 0; at < items.length; at += perCall) await producer.submitMany(items.slice(at, at + perCall));
}
