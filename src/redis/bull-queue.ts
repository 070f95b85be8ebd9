import { Queue } from 'bullmq';
import { type Keys, WRITES_QUEUE } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import type { Redis } from './client.ts';
import { repliesOf } from './commands.ts';

/** BullMQ's events that are kept. Nobody listens to them: outcomes are told on the change feed. */
const EVENTS_KEPT = 100;

/** A queue of BullMQ's. Its `error` events go to the log: without a listener they would end the process. */
export function openQueue(name: string, connection: Redis, keys: Keys, log: Logger): Queue {
  const queue = new Queue(name, {
    connection,
    prefix: keys.queuePrefix,
    streams: { events: { maxLen: EVENTS_KEPT } },
  });
  queue.on('error', (error) => log.debug({ err: error }, 'queue connection error'));
  return queue;
}

/** Fields of a job that BullMQ parses before our worker sees it, and can do without. */
const PARSED_FIELDS = ['opts', 'progress', 'parent'];

/** Drops those of these fields that are no JSON. BullMQ could never fetch the job, and it would come back for ever. */
export async function dropUnreadableFields(redis: Redis, jobKey: string): Promise<void> {
  const texts = await redis.hmget(jobKey, ...PARSED_FIELDS);
  const unreadable = PARSED_FIELDS.filter((_, i) => !isReadable(texts[i]));
  if (unreadable.length > 0) await redis.hdel(jobKey, ...unreadable);
}

function isReadable(text: string | null | undefined): boolean {
  if (text == null) return true;
  try {
    return JSON.parse(text) !== null;
  } catch {
    return false;
  }
}

const SAMPLED_JOBS = 100;
const LISTS = ['wait', 'active', 'paused'] as const;

export interface QueuedBytes {
  readonly bytes: number;
  /** More chunks wait than were measured; the others count as their average. */
  readonly estimated: boolean;
}

/** Bytes of the chunks in the writes queues of all lanes. */
export async function queuedBytes(redis: Redis, { keys }: Lanes): Promise<QueuedBytes> {
  const lanes = await Promise.all(keys.map((lane) => queuedBytesOfLane(redis, lane)));
  return {
    bytes: lanes.reduce((sum, { bytes }) => sum + bytes, 0),
    estimated: lanes.some(({ estimated }) => estimated),
  };
}

/** At most a hundred of each list are measured. */
async function queuedBytesOfLane(redis: Redis, keys: Keys): Promise<QueuedBytes> {
  const queue = `${keys.queuePrefix}:${WRITES_QUEUE}:`;
  const lists = redis.pipeline();
  for (const list of LISTS) lists.llen(queue + list).lrange(queue + list, 0, SAMPLED_JOBS - 1);
  const replies = await repliesOf(lists);
  const jobs = replies.filter((reply) => typeof reply === 'number').reduce((sum, n) => sum + n, 0);
  const ids = replies.filter((reply) => Array.isArray(reply)).flat() as string[];
  if (ids.length === 0) return { bytes: 0, estimated: false };
  const sizes = redis.pipeline();
  for (const id of ids) sizes.hstrlen(queue + id, 'data');
  const measured = (await repliesOf(sizes)).reduce<number>((sum, size) => sum + Number(size), 0);
  const estimated = jobs > ids.length;
  return { bytes: Math.round(measured * (estimated ? jobs / ids.length : 1)), estimated };
}
