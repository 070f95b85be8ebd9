import type { Redis } from 'ioredis';
import { z } from 'zod';
import { stampToMs } from '../clock.ts';
import type { Keys } from '../keys.ts';
import { settledBelow } from './pending.ts';
import { Script } from './script.ts';
import { ServerInfo } from './server-info.ts';

const sweepScript = new Script('sweep-bytes');

/** What was accepted and has not settled, as one look at the queue's Redis showed it. */
export interface Waiting {
  /** Distinct ids whose newest write has not settled. */
  readonly items: number;
  /** What the chunks in flight take in the queue. */
  readonly bytes: number;
  /** Memory used by Redis as a share of its `maxmemory`; 0 when it has none or does not tell. */
  readonly memoryShare: number;
  /** Milliseconds that the oldest chunk in flight has waited, by Redis's clock. */
  readonly oldestMs: number;
}

export const NOTHING_WAITS: Waiting = { items: 0, bytes: 0, memoryShare: 0, oldestMs: 0 };

/** What of each counts as full. */
export interface WaitingLimits {
  readonly maxWaitingItems: number;
  readonly maxWaitingBytes: number;
  readonly maxMemoryShare: number;
}

/** Text, whatever the driver's types say. */
const timeReply = z.tuple([z.coerce.number(), z.coerce.number()]);

/** One round trip. */
export async function waitingNow(redis: Redis, keys: Keys): Promise<Waiting> {
  const [time, items, bytes, memoryShare, oldest] = await Promise.all([
    redis.time(),
    redis.hlen(keys.pending),
    bytesInFlight(redis, keys),
    usedMemoryShare(redis),
    settledBelow(redis, keys),
  ]);
  const [seconds, microseconds] = timeReply.parse(time);
  const nowMs = seconds * 1000 + microseconds / 1000;
  return { items, bytes, memoryShare, oldestMs: Math.max(0, nowMs - stampToMs(oldest)) };
}

export async function bytesInFlight(redis: Redis, keys: Keys): Promise<number> {
  return Number(await redis.hget(keys.bytes, 'total'));
}

/** A user that may not call INFO has no memory limit: a full Redis refuses the write itself. */
export async function usedMemoryShare(redis: Redis): Promise<number> {
  const info = await ServerInfo.of(redis, 'memory').catch((error: unknown) => {
    if (error instanceof Error && error.name === 'ReplyError') return undefined;
    throw error;
  });
  const max = info?.number('maxmemory') ?? 0;
  return max > 0 ? (info?.number('used_memory') ?? 0) / max : 0;
}

/** Whether Redis refused a command because it is at its `maxmemory`. */
export function isOutOfMemory(error: unknown): boolean {
  // Redis 6 tells it in the middle of the script's error.
  return error instanceof Error && error.message.includes('OOM command not allowed');
}

/** Drops the bytes of chunks that left the queue untold, so that what they took is given to others. */
export async function sweepBytes(redis: Redis, keys: Keys): Promise<void> {
  let cursor = '0';
  do {
    cursor = z.string().parse(await sweepScript.run(redis, [keys.bytes, keys.inflight], [cursor]));
  } while (cursor !== '0');
}
