import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { openProducer } from '../src/producer/open-producer.ts';
import type { NewItem, Producer } from '../src/types/write.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { cpuUs, redisCpuUsByServer } from './cpu.ts';
import { documents } from './documents.ts';
import { type Emit, perSecond, timed } from './metric.ts';

const WORKERS = 2;
const WARM_UP = 40_000;
const ITEMS_PER_CALL = 500;
const CALLS_AT_ONCE = 4;

/** How much the queue carries alone: stamping, queueing and settling, with workers that write neither rows nor copies. */
export async function queueCeiling(emit: Emit, deployment: Deployment, count: number): Promise<void> {
  const producer = await openProducer(deployment.options);
  const workers = await Promise.all(Array.from({ length: WORKERS }, () => startSettling(deployment)));
  try {
    await flow(producer, documents(WARM_UP, 'warm'), deployment);
    const items = documents(count, 'queue');
    const used = async (): Promise<Record<string, number>> => ({
      ...(await redisCpuUsByServer(deployment)),
      worker: workers.reduce((sum, { pid }) => sum + cpuUs(pid as number), 0),
      producer: cpuUs(process.pid),
    });
    const before = await used();
    const ms = await timed(() => flow(producer, items, deployment));
    const after = await used();
    emit('queue_ceiling_items_per_s', perSecond(count, ms), 'items/s');
    const spent = Object.entries(after).map(([name, us]) => [name, us - (before[name] ?? us)] as const);
    // Of each server by all items: together they are what an item costs.
    for (const [name, us] of spent) emit(`queue_${name}_cpu_us`, us / count, 'us/item');
    const masters = spent.filter(([name]) => name.startsWith('master'));
    emit('queue_redis_cpu_us', masters.reduce((sum, [, us]) => sum + us, 0) / count, 'us/item');
    emit('queue_busiest_master_share', Math.max(...masters.map(([, us]) => us / ms / 1000)), 'of a core');
  } finally {
    for (const worker of workers) {
      worker.kill();
      await once(worker, 'exit');
    }
    await producer.close();
  }
}

/** Submits and settles at the same time. */
async function flow(producer: Producer, items: readonly NewItem[], { lanes }: Deployment): Promise<void> {
  const perCall = ITEMS_PER_CALL * lanes.count;
  let at = 0;
  await Promise.all(
    Array.from({ length: CALLS_AT_ONCE }, async () => {
      while (at < items.length) await producer.submitMany(items.slice(at, (at += perCall)));
    }),
  );
  await producer.flush();
}

async function startSettling({ env }: Deployment) {
  const file = fileURLToPath(new URL('./settling-worker.js', import.meta.url));
  const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}
