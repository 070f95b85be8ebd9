import { Queue } from 'bullmq';
import { openProducer } from '../src/producer/open-producer.ts';
import { closeRedis, createRedis } from '../src/redis/connect.ts';
import type { NewItem } from '../src/types/write.ts';
import { createDeployment } from '../test/helpers/deployment.ts';
import { documents } from './documents.ts';
import { type BenchOptions, type Emit, perSecond, timed } from './metric.ts';

const LOOPS = 1000;
const CALLS_IN_FLIGHT = 4;

/** How fast a producer hands writes to the queue; no worker runs. */
export async function enqueueBench(emit: Emit, { items: count = 100_000 }: BenchOptions): Promise<void> {
  const items = documents(count);
  const deployment = await createDeployment();
  const producer = await openProducer(deployment.options);
  const connection = createRedis(deployment.config.redisUrl, 'patient', deployment.log);
  const queue = new Queue('plain', { connection, prefix: deployment.keys.queuePrefix });
  try {
    await producer.submitMany(documents(5000, 'warm'));
    const many = await timed(() =>
      inLoops(callsOf(items, 500), CALLS_IN_FLIGHT, (call) => producer.submitMany(call)),
    );
    emit('submit_many_items_per_s', perSecond(count, many), 'items/s');

    const single = await timed(() => inLoops(items, LOOPS, (item) => producer.submit(item)));
    const added = await timed(() =>
      inLoops(items, LOOPS, (item) => queue.add('put', item, { removeOnComplete: true })),
    );
    emit('submit_items_per_s', perSecond(count, single), 'items/s');
    emit('queue_add_items_per_s', perSecond(count, added), 'items/s');
    emit('ratio_vs_queue_add', added / single, 'ratio');
  } finally {
    await producer.close();
    await queue.close();
    await closeRedis(connection);
    await deployment.close();
  }
}

function callsOf(items: readonly NewItem[], size: number): NewItem[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );
}

/** `loops` callers at once, each making its next call when the last has returned. */
async function inLoops<T>(
  inputs: readonly T[],
  loops: number,
  call: (input: T) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(loops, inputs.length) }, async () => {
      while (next < inputs.length) await call(inputs[next++] as T);
    }),
  );
}
