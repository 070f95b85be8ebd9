import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { Stamp } from '../clock.ts';
import type { Keys } from '../keys.ts';
import { Script } from './script.ts';

const stampScript = new Script('stamp');
const raiseScript = new Script('raise-clock');
const stampReply = z.tuple([z.coerce.number(), z.string(), z.number(), z.coerce.number()]);

export interface StampRange {
  readonly first: Stamp;
  /** Changes when Redis lost its data. */
  readonly epoch: string;
  readonly pendingIds: number;
  readonly oldestInflight: Stamp;
}

/** Takes one stamp an id, or one for a range delete (no ids), and notes what is in flight and pending, in one step. */
export async function takeStamps(
  redis: Redis,
  keys: Keys,
  chunkId: string,
  ids: readonly string[],
): Promise<StampRange> {
  const reply = await stampScript.run(
    redis,
    [keys.clock, keys.inflight, keys.pending, keys.ranges],
    [chunkId, randomUUID(), ...ids],
  );
  const [first, epoch, pendingIds, oldestInflight] = stampReply.parse(reply);
  return { first, epoch, pendingIds, oldestInflight };
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
