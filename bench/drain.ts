import { execFileSync } from 'node:child_process';
import { Queue } from 'bullmq';
import { WRITES_QUEUE } from '../src/keys.ts';
import { openProducer } from '../src/producer/open-producer.ts';
import { createRedis } from '../src/redis/connect.ts';
import type { NewItem, Producer } from '../src/types/write.ts';
import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import { startWorker } from '../test/helpers/worker-process.ts';
import { cpuUs, postgresCpuUs, redisCpuUs } from './cpu.ts';
import { documents } from './documents.ts';
import { type BenchOptions, type Emit, perSecond, timed } from './metric.ts';
import { naiveMs } from './naive.ts';
import { rawUpsertMs } from './raw-upsert.ts';

const WORKERS = 2;
const WARM_UP = 40_000;

/** Drain throughput against the raw limit of Postgres and against what a team writes by hand, in one run. */
export async function drainBench(emit: Emit, { items: count = 100_000 }: BenchOptions): Promise<void> {
  const items = documents(count);
  const deployment = await createDeployment();
  try {
    await deployment.pool.query('VACUUM');
    const before = await rawUpsertMs(deployment, items);
    const drained = await tierlineDrain(deployment, items);
    // Before and after: the machine is not as fast from one second to the next.
    const raw = perSecond(2 * count, before + (await rawUpsertMs(deployment, items)));
    emit('raw_upsert_items_per_s', raw, 'items/s');
    const tierline = perSecond(count, drained.ms);
    emit('items_per_s', tierline, 'items/s');
    emit('worker_rss_mb', drained.rssMb, 'MB');
    for (const [name, us] of Object.entries(drained.cpuUs)) emit(`${name}_cpu_us`, us / count, 'us/item');

    const naive = perSecond(count, await naiveMs(deployment, items));
    emit('naive_items_per_s', naive, 'items/s');
    emit('ratio_vs_raw_upsert', tierline / raw, 'ratio');
    emit('ratio_vs_naive', tierline / naive, 'ratio');
  } finally {
    await deployment.close();
  }
}

/** Jobs already queued, workers up and warm: from the queues' release until the last chunk has settled. */
export async function tierlineDrain(
  deployment: Deployment,
  items: readonly NewItem[],
): Promise<{ ms: number; rssMb: number; cpuUs: Record<string, number> }> {
  const connection = createRedis(deployment.config.redisUrl, 'patient', deployment.log);
  const queues = deployment.lanes.keys.map(
    ({ queuePrefix: prefix }) => new Queue(WRITES_QUEUE, { connection, prefix }),
  );
  // Each partition gets full chunks.
  const perCall = 500 * queues.length;
  const producer = await openProducer(deployment.options);
  const workers = await Promise.all(
    Array.from({ length: WORKERS }, () => startWorker('drain', deployment.env)),
  );
  // Workers live for weeks: what Node spends on compiling in the first seconds is not their speed.
  await submitAll(producer, documents(WARM_UP, 'warm'), perCall);
  await producer.flush();
  await Promise.all(queues.map((queue) => queue.pause()));
  await submitAll(producer, items, perCall);
  const used = async () => ({
    worker: workers.reduce((sum, { child }) => sum + cpuUs(child.pid as number), 0),
    redis: await redisCpuUs(deployment),
    postgres: await postgresCpuUs(deployment),
    client: cpuUs(process.pid),
  });
  let rssMb = 0;
  const watch = setInterval(() => {
    for (const { child } of workers) rssMb = Math.max(rssMb, residentMb(child.pid as number));
  }, 250);
  try {
    const before = await used();
    const ms = await timed(async () => {
      await Promise.all(queues.map((queue) => queue.resume()));
      await producer.flush();
    });
    const after = await used();
    const spent = Object.entries(after).map(([name, us]) => [name, us - before[name as keyof typeof before]]);
    return { ms, rssMb, cpuUs: Object.fromEntries(spent) };
  } finally {
    clearInterval(watch);
    await Promise.all(workers.map((worker) => worker.stop()));
    await producer.close();
    await Promise.all(queues.map((queue) => queue.close()));
    connection.disconnect();
  }
}

export async function submitAll(
  producer: Producer,
  items: readonly NewItem[],
  perCall: number,
): Promise<void> {
  for (let at = 0; at < items.length; at += perCall) await producer.submitMany(items.slice(at, at + perCall));
}

export function residentMb(pid: number): number {
  return Math.round(
    Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) / 1024,
  );
}
