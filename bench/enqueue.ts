import { Queue } from 'bullmq';
import { openProducer } from '../src/producer/open-producer.ts';
import { closeRedis } from '../src/redis/connect.ts';
import { createRedis } from '../src/redis/driver.ts';
import type { NewItem } from '../src/types/write.ts';
import { createDeployment } from '../test/helpers/deployment.ts';
import { documents } from './documents.ts';
import { type BenchOptions, type Emit, perSecond } from './metric.ts';
import { figure, inRounds } from './rounds.ts';
import { emitUsage, usageOf } from './usage.ts';

const LOOPS = 1000;
const CALLS_IN_FLIGHT = 4;
/** Nothing here writes to Postgres. */
const KINDS = ['client_cpu_us', 'redis_cpu_us', 'redis_commands'] as const;

/** How fast a producer hands writes to the queue, beside BullMQ's own calls with the same items, in turns; no worker runs. */
export async function enqueueBench(emit: Emit, { items: count = 20_000 }: BenchOptions): Promise<void> {
  const items = documents(count);
  const calls = callsOf(items, 500);
  const deployment = await createDeployment();
  const producer = await openProducer(deployment.options);
  const connection = createRedis(deployment.config.redisUrl, 'patient', deployment.log);
  const queue = new Queue('plain', { connection, prefix: deployment.keys.queuePrefix });
  const measured = (work: () => Promise<void>) => () => usageOf(deployment, [], work);
  try {
    const rounds = await inRounds({
      submit_many: measured(() => inLoops(calls, CALLS_IN_FLIGHT, (call) => producer.submitMany(call))),
      add_bulk: measured(() =>
        inLoops(calls, CALLS_IN_FLIGHT, (call) =>
          queue.addBulk(call.map((data) => ({ name: 'put', data, opts: { removeOnComplete: true } }))),
        ),
      ),
      submit: measured(() => inLoops(items, LOOPS, (item) => producer.submit(item))),
      queue_add: measured(() =>
        inLoops(items, LOOPS, (item) => queue.add('put', item, { removeOnComplete: true })),
      ),
    });
    for (const name of ['submit_many', 'add_bulk', 'submit', 'queue_add'] as const) {
      const usages = rounds.map((round) => round[name]);
      emit(
        `${name}_items_per_s`,
        figure(usages, ({ ms }) => perSecond(count, ms)),
        'items/s',
      );
      emitUsage(emit, usages, count, { prefix: `${name}_`, kinds: KINDS });
    }
    emit(
      'ratio_vs_add_bulk',
      figure(rounds, (round) => round.add_bulk.ms / round.submit_many.ms),
      'ratio',
    );
    emit(
      'ratio_vs_queue_add',
      figure(rounds, (round) => round.queue_add.ms / round.submit.ms),
      'ratio',
    );
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
