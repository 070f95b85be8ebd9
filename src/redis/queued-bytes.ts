import type { Keys } from '../keys.ts';
import { WRITES_QUEUE } from '../keys.ts';
import type { Redis } from './connect.ts';

const SAMPLED_JOBS = 100;
const LISTS = ['wait', 'active', 'paused'] as const;

export interface QueuedBytes {
  readonly bytes: number;
  /** More chunks wait than were measured: the rest is taken to be like them. */
  readonly estimated: boolean;
}

/** Bytes of the chunks in the writes queue: measured up to a hundred a list. */
export async function queuedBytes(redis: Redis, keys: Keys): Promise<QueuedBytes> {
  const queue = `${keys.queuePrefix}:${WRITES_QUEUE}:`;
  const lists = redis.pipeline();
  for (const list of LISTS) lists.llen(queue + list).lrange(queue + list, 0, SAMPLED_JOBS - 1);
  const replies = await repliesOf(lists.exec());
  const jobs = replies.filter((reply) => typeof reply === 'number').reduce((sum, n) => sum + n, 0);
  const ids = replies.filter((reply) => Array.isArray(reply)).flat() as string[];
  if (ids.length === 0) return { bytes: 0, estimated: false };
  const sizes = redis.pipeline();
  for (const id of ids) sizes.hstrlen(queue + id, 'data');
  const measured = (await repliesOf(sizes.exec())).reduce<number>((sum, size) => sum + Number(size), 0);
  const estimated = jobs > ids.length;
  return { bytes: Math.round(measured * (estimated ? jobs / ids.length : 1)), estimated };
}

async function repliesOf(
  pending: Promise<[error: Error | null, reply: unknown][] | null>,
): Promise<unknown[]> {
  return ((await pending) ?? []).map(([error, reply]) => {
    if (error !== null) throw error;
    return reply;
  });
}
