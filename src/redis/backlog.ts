import { z } from 'zod';
import { type Stamp, stampToMs } from '../clock.ts';
import { type Keys, WRITES_QUEUE } from '../keys.ts';
import { isReplay } from '../schema/job.ts';
import { settledBelow } from './in-flight.ts';
import { readTogether, Script } from './commands.ts';
import { type Redis, ServerInfo } from './connect.ts';

/** What has been accepted and has not settled, and the feed it will settle on; one snapshot of the queue's Redis. */
export interface Backlog {
  /** Distinct ids whose newest write has not settled. */
  readonly pendingItems: number;
  /** What the chunks in flight take in the queue. */
  readonly waitingBytes: number;
  /** Memory used by the queue's Redis as a share of its `maxmemory`; 0 when it has none or does not tell. */
  readonly memoryShare: number;
  /** Chunks stamped and not settled. */
  readonly chunksInFlight: number;
  /** Of them, jobs that no worker has taken yet. */
  readonly chunksWaiting: number;
  /** Of them, jobs in the hands of a worker. */
  readonly chunksActive: number;
  /** Milliseconds since the oldest unsettled chunk was stamped; 0 when there is none. */
  readonly oldestMs: number;
  /** Batches ever announced on the feed, and those it still holds. */
  readonly feedEntries: number;
  readonly feedLength: number;
  /** The time of Redis, in milliseconds since 1970. */
  readonly nowMs: number;
}

/** Replays stand among the oldest for a moment: further than this no look goes past them. */
const OLDEST_LOOKED_AT = 64;

const backlogReply = z.tuple([
  z.tuple([z.coerce.number(), z.coerce.number()]),
  z.number(),
  z.number(),
  z.array(z.string()),
  z.number(),
  z.number(),
  z.coerce.number(),
  z.number(),
  z.coerce.number(),
]);

/** @param redis of the queue. One round trip, a few dozen entries at most. */
export async function readBacklog(redis: Redis, keys: Keys): Promise<Backlog> {
  const jobs = `${keys.queuePrefix}:${WRITES_QUEUE}`;
  const memory = usedMemoryShare(redis);
  // The other read may fail first.
  memory.catch(() => undefined);
  const replies = await readTogether(
    redis,
    [keys.pending, keys.inflight, `${jobs}:wait`, `${jobs}:active`, keys.clock, keys.feed, keys.bytes],
    [
      ['TIME'],
      ['HLEN', keys.pending],
      ['ZCARD', keys.inflight],
      ['ZRANGE', keys.inflight, '0', String(OLDEST_LOOKED_AT - 1), 'WITHSCORES'],
      ['LLEN', `${jobs}:wait`],
      ['LLEN', `${jobs}:active`],
      ['HGET', keys.clock, 'entries'],
      ['XLEN', keys.feed],
      ['HGET', keys.bytes, 'total'],
    ],
  );
  const [
    [seconds, micros],
    pendingItems,
    chunksInFlight,
    oldest,
    waiting,
    active,
    entries,
    feedLength,
    waitingBytes,
  ] = backlogReply.parse(replies);
  const nowMs = seconds * 1000 + micros / 1000;
  const stamp = oldestStamp(oldest);
  return {
    pendingItems,
    waitingBytes,
    memoryShare: await memory,
    chunksInFlight,
    chunksWaiting: waiting,
    chunksActive: active,
    // The clock may run a little ahead of the time of day after a burst.
    oldestMs: stamp === undefined ? 0 : Math.max(0, nowMs - stamp / 1000),
    feedEntries: entries,
    feedLength,
    nowMs,
  };
}

/** The part of it that can fill the queue. */
export function waitingOf({ pendingItems, waitingBytes, memoryShare, oldestMs }: Backlog): Waiting {
  return { items: pendingItems, bytes: waitingBytes, memoryShare, oldestMs };
}

/** @param pairs chunk id and first stamp in turn. A replayed dead letter has the stamp of long ago, and does not wait since then. */
function oldestStamp(pairs: readonly string[]): Stamp | undefined {
  for (let i = 0; i < pairs.length; i += 2) {
    if (!isReplay(pairs[i] as string)) return Number(pairs[i + 1]);
  }
  return undefined;
}

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
