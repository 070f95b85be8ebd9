import { Queue } from 'bullmq';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import type { Redis } from './connect.ts';

/** Enough for BullMQ's own use: nobody here listens to its events, because barriers stand on the change feed. */
const EVENTS_KEPT = 100;

/** A queue of BullMQ's. Its connection errors go to the log: an unheard one would end the process. */
export function openQueue(name: string, connection: Redis, keys: Keys, log: Logger): Queue {
  const queue = new Queue(name, {
    connection,
    prefix: keys.queuePrefix,
    streams: { events: { maxLen: EVENTS_KEPT } },
  });
  queue.on('error', (error) => log.debug({ err: error }, 'queue connection error'));
  return queue;
}
