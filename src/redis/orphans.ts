import type { Redis } from 'ioredis';
import { z } from 'zod';
import { type Keys, RANGES_QUEUE, WRITES_QUEUE } from '../keys.ts';
import { Script } from './script.ts';

const sweepScript = new Script('sweep-orphans');
const withdrawScript = new Script('withdraw');
const timeoutScript = new Script('note-timeout');
const sweepReply = z.tuple([z.int(), z.int(), z.string()]);
const withdrawReply = z.enum(['withdrawn', 'queued', 'settled', 'lost']);

/** For a producer whose clock of timers and Redis's differ, and for an add that is on the wire when its time is up. */
const GRACE_MS = 3000;
/** A job that is on the wire for longer than a day is none. */
const REMEMBERED_US = 24 * 3600 * 1_000_000;
/** 10 MB of Redis. */
const REMEMBERED_CHUNKS = 100_000;

export interface Swept {
  readonly chunks: number;
  readonly ids: number;
}

/** Age in µs at which a chunk without a job is an orphan: no producer tries to add it any more. */
export async function orphanAgeUs(redis: Redis, keys: Keys, enqueueTimeoutMs: number): Promise<number> {
  const longest = Number(await redis.zscore(keys.timeouts, 'enqueue'));
  return (Math.max(longest, enqueueTimeoutMs) + GRACE_MS) * 1000;
}

/** Notes how long a producer tries to add a chunk, so that no sweep takes it for an orphan before. */
export async function noteEnqueueTimeout(redis: Redis, keys: Keys, enqueueTimeoutMs: number): Promise<void> {
  await timeoutScript.run(redis, [keys.timeouts], [enqueueTimeoutMs]);
}

/** Drops notes of chunks that were stamped but never queued. A few hundred ids a call, so Redis serves others in between. */
export async function sweepOrphans(redis: Redis, keys: Keys, ageUs: number): Promise<Swept> {
  let chunks = 0;
  let ids = 0;
  let cursor = '0';
  do {
    const [droppedChunks, droppedIds, next] = await sweepPage(redis, keys, ageUs, cursor);
    chunks += droppedChunks;
    ids += droppedIds;
    cursor = next;
  } while (cursor !== '0');
  return { chunks, ids };
}

/** Only what holds up range deletes: the notes of chunks, and of ids those that the same call looks at. */
export async function sweepOrphanedChunks(redis: Redis, keys: Keys, ageUs: number): Promise<number> {
  const [chunks] = await sweepPage(redis, keys, ageUs, '0');
  return chunks;
}

async function sweepPage(
  redis: Redis,
  keys: Keys,
  ageUs: number,
  cursor: string,
): Promise<z.output<typeof sweepReply>> {
  const jobPrefixes = [WRITES_QUEUE, RANGES_QUEUE].map((queue) => keys.job(queue, ''));
  const reply = await sweepScript.run(
    redis,
    [keys.inflight, keys.pending, keys.ranges, keys.swept, keys.covers],
    [ageUs, cursor, REMEMBERED_US, REMEMBERED_CHUNKS, ...jobPrefixes],
  );
  return sweepReply.parse(reply);
}

/** A chunk whose job may not have arrived. */
export interface DoubtfulChunk {
  readonly queue: string;
  readonly chunkId: string;
  /** Epoch of its stamps; '' when they are not known. */
  readonly epoch: string;
  readonly ids: readonly string[];
}

/**
 * Takes a chunk's notes back unless its job is in Redis. `withdrawn`: it will never be applied, also when the job arrives
 * later. `queued`, `settled`: its job did arrive. `lost`: Redis lost its data, nothing is known.
 */
export async function withdrawChunk(
  redis: Redis,
  keys: Keys,
  { queue, chunkId, epoch, ids }: DoubtfulChunk,
): Promise<z.output<typeof withdrawReply>> {
  const reply = await withdrawScript.run(
    redis,
    [
      keys.inflight,
      keys.pending,
      keys.ranges,
      keys.swept,
      keys.clock,
      keys.bytes,
      keys.job(queue, chunkId),
      keys.covers,
    ],
    [chunkId, epoch, REMEMBERED_CHUNKS, ...ids],
  );
  return withdrawReply.parse(reply);
}

/** Those of the chunks whose notes were taken back before their jobs arrived. The caller holds their jobs. */
export async function sweptAmong(
  redis: Redis,
  keys: Keys,
  chunkIds: readonly string[],
): Promise<ReadonlySet<string>> {
  if (chunkIds.length === 0) return new Set();
  const times = await redis.zmscore(keys.swept, ...chunkIds);
  return new Set(chunkIds.filter((_, i) => times[i] !== null));
}
