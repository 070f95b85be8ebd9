import { z } from 'zod';
import { type Stamp, stampToMs } from '../clock.ts';
import { type Keys, WRITES_QUEUE } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import { isReplay } from '../schema/job.ts';
import type { Redis } from './client.ts';
import { readTogether, Script, serverTimeMs, timeToMs } from './commands.ts';
import { settledBelow } from './in-flight.ts';
import { masterOf } from './masters.ts';
import { usedMemoryShare } from './masters.ts';

/** What the queue's Redis says, a lane at a time: the writes that were accepted and have not settled, and the feed. */
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

/** Look at no more than this many of the oldest chunks when skipping replays. */
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
async function backlogOfLane(redis: Redis, keys: Keys): Promise<Backlog> {
  const jobs = `${keys.queuePrefix}:${WRITES_QUEUE}`;
  const memory = usedMemoryShare(redis, keys.clock);
  // When the other read fails first, nobody waits for this one.
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
  const [time, pendingItems, chunksInFlight, oldest, waiting, active, entries, feedLength, waitingBytes] =
    backlogReply.parse(replies);
  const nowMs = timeToMs(time);
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

/** That of all lanes together. */
export async function readBacklog(redis: Redis, { keys }: Lanes): Promise<Backlog> {
  const lanes = await Promise.all(keys.map((lane) => backlogOfLane(redis, lane)));
  const sum = (figure: (lane: Backlog) => number) => lanes.reduce((total, lane) => total + figure(lane), 0);
  const most = (figure: (lane: Backlog) => number) => Math.max(...lanes.map(figure));
  return {
    pendingItems: sum(({ pendingItems }) => pendingItems),
    waitingBytes: sum(({ waitingBytes }) => waitingBytes),
    memoryShare: most(({ memoryShare }) => memoryShare),
    chunksInFlight: sum(({ chunksInFlight }) => chunksInFlight),
    chunksWaiting: sum(({ chunksWaiting }) => chunksWaiting),
    chunksActive: sum(({ chunksActive }) => chunksActive),
    oldestMs: most(({ oldestMs }) => oldestMs),
    feedEntries: sum(({ feedEntries }) => feedEntries),
    feedLength: sum(({ feedLength }) => feedLength),
    nowMs: most(({ nowMs }) => nowMs),
  };
}

/** The part of it that can fill the queue. */
export function waitingOf({ pendingItems, waitingBytes, memoryShare, oldestMs }: Backlog): Waiting {
  return { items: pendingItems, bytes: waitingBytes, memoryShare, oldestMs };
}

/** @param pairs chunk id and first stamp in turn. A replayed dead letter keeps its old stamp, but has not waited since then. */
function oldestStamp(pairs: readonly string[]): Stamp | undefined {
  for (let i = 0; i < pairs.length; i += 2) {
    if (!isReplay(pairs[i] as string)) return Number(pairs[i + 1]);
  }
  return undefined;
}

const sweepScript = new Script('sweep-bytes');

/** How much was accepted and has not settled: what admission compares with its limits. */
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

/** From which figure on the queue counts as full. */
export interface WaitingLimits {
  readonly maxWaitingItems: number;
  readonly maxWaitingBytes: number;
  readonly maxMemoryShare: number;
}

/** One round trip. */
export async function waitingNow(redis: Redis, keys: Keys): Promise<Waiting> {
  const [nowMs, items, bytes, memoryShare, oldest] = await Promise.all([
    serverTimeMs(masterOf(redis, keys.clock)),
    redis.hlen(keys.pending),
    bytesInFlight(redis, keys),
    usedMemoryShare(redis, keys.clock),
    settledBelow(redis, keys),
  ]);
  return { items, bytes, memoryShare, oldestMs: Math.max(0, nowMs - stampToMs(oldest)) };
}

export async function bytesInFlight(redis: Redis, keys: Keys): Promise<number> {
  return Number(await redis.hget(keys.bytes, 'total'));
}

/** Stops counting the bytes of chunks that were removed from the queue without settling. */
export async function sweepBytes(redis: Redis, keys: Keys): Promise<void> {
  let cursor = '0';
  do {
    cursor = z.string().parse(await sweepScript.run(redis, [keys.bytes, keys.inflight], [cursor]));
  } while (cursor !== '0');
}
