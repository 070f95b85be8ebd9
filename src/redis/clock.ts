import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { type Stamp, stampToMs } from '../clock.ts';
import type { Keys } from '../keys.ts';
import type { RangeJob } from '../schema/job.ts';
import { Script } from './script.ts';
import type { Waiting, WaitingLimits } from './waiting.ts';

const stampScript = new Script('stamp');
const raiseScript = new Script('raise-clock');
const stampReply = z.tuple([
  z.coerce.number(),
  z.string(),
  z.number(),
  z.number(),
  z.coerce.number(),
  z.coerce.number(),
]);

export interface StampRange {
  readonly first: Stamp;
  /** Changes when Redis lost its data. */
  readonly epoch: string;
  /** What waits, this chunk with it. */
  readonly waiting: Waiting;
}

/** What a chunk asks room for. */
export interface Admission {
  /** What the chunk takes in the queue. */
  readonly bytes: number;
  /** The fullest measure against its limit, 1 being full, from which the chunk is refused; 0: it never is. */
  readonly refusedFrom: number;
  readonly limits: WaitingLimits;
}

/** The queue has no room for the chunk. Nothing was noted. */
export class StampsRefused extends Error {
  readonly waiting: Waiting;
  constructor(waiting: Waiting) {
    super('the queue is full');
    this.waiting = waiting;
  }
}

const ALWAYS: Admission = {
  bytes: 0,
  refusedFrom: 0,
  limits: { maxWaitingItems: 1, maxWaitingBytes: 1, maxMemoryShare: 1 },
};

/** What a range delete deletes. */
export type Cover = Pick<RangeJob, 'kind' | 'value'>;

/**
 * Takes one stamp an id of a chunk, or one for a range delete, and notes what is in flight and pending, in one step. One script
 * decides for all processes, so none of them gets more room than another.
 * @throws StampsRefused
 */
export async function takeStamps(
  redis: Redis,
  keys: Keys,
  chunkId: string,
  content: readonly string[] | Cover,
  { bytes, refusedFrom, limits }: Admission = ALWAYS,
): Promise<StampRange> {
  const { maxWaitingItems, maxWaitingBytes, maxMemoryShare } = limits;
  const [cover, ids] =
    'kind' in content ? [JSON.stringify([content.kind, content.value]), []] : ['', content];
  const reply = await stampScript.run(
    redis,
    [keys.clock, keys.inflight, keys.pending, keys.ranges, keys.bytes, keys.covers],
    [
      chunkId,
      randomUUID(),
      bytes,
      refusedFrom,
      maxWaitingItems,
      maxWaitingBytes,
      maxMemoryShare,
      cover,
      ...ids,
    ],
  );
  const [first, epoch, items, waitingBytes, memoryShare, oldest] = stampReply.parse(reply);
  const oldestMs = first === 0 || oldest === 0 ? 0 : Math.max(0, stampToMs(first - oldest));
  const waiting = { items, bytes: waitingBytes, memoryShare, oldestMs };
  if (first === 0) throw new StampsRefused(waiting);
  return { first, epoch, waiting };
}

/** The clock's epoch, begun here when Redis is empty. */
export async function clockEpoch(redis: Redis, keys: Keys): Promise<string> {
  return z.string().parse(await raiseScript.run(redis, [keys.clock], ['0', randomUUID()]));
}

/** No stamp up to `stamp` (1 or more) will be given out any more. */
export async function raiseClock(redis: Redis, keys: Keys, stamp: Stamp): Promise<void> {
  await raiseScript.run(redis, [keys.clock], [String(stamp), randomUUID()]);
}

/** Whether `raiseClock` was called since Redis was last empty. */
export async function isClockRaised(redis: Redis, keys: Keys): Promise<boolean> {
  return (await redis.hexists(keys.clock, 'raised')) === 1;
}
