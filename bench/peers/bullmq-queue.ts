import { type Processor, Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import type { Place } from './place.ts';
import type { Intake } from './write-peer.ts';
import type { NewItem } from '../../src/types/write.ts';

/** The queue of a BullMQ peer as its service opens it. Jobs that are done are removed at once, which is cheapest. */
export function openBullmq(place: Place, jobsOf: (items: readonly NewItem[]) => readonly unknown[]): Intake {
  const connection = new Redis(place.redisUrl, { maxRetriesPerRequest: null });
  const queue = new Queue(place.name, { connection, prefix: place.namespace });
  return {
    submit: (items) =>
      queue.addBulk(jobsOf(items).map((data) => ({ name: 'put', data, opts: { removeOnComplete: true } }))),
    async close() {
      await queue.close();
      connection.disconnect();
    },
  };
}

export async function consumeBullmq<T>(
  place: Place,
  concurrency: number,
  processor: Processor<T>,
): Promise<void> {
  const connection = new Redis(place.redisUrl, { maxRetriesPerRequest: null });
  const worker = new Worker<T>(place.name, processor, {
    connection,
    prefix: place.namespace,
    concurrency,
    removeOnComplete: { count: 0 },
  });
  worker.on('error', (error) => process.stderr.write(`${place.name}: ${error.message}\n`));
  worker.on('failed', (_, error) => process.stderr.write(`${place.name}: ${error.message}\n`));
  await worker.waitUntilReady();
}
