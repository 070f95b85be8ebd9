import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { type Stamp, stampToMs } from '../clock.ts';
import { PartitionsError } from '../errors.ts';
import { type Keys, RANGES_QUEUE, WRITES_QUEUE } from '../keys.ts';
import type { RangeJob } from '../schema/job.ts';
import type { Waiting, WaitingLimits } from './backlog.ts';
import type { Redis } from './client.ts';
import { Script } from './commands.ts';
import { masterOf } from './masters.ts';

const stampScript = new Script('stamp', 'part-memory');
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
  /** What waits in the queue, this chunk included. */
  readonly waiting: Waiting;
}

/** The room that a chunk asks for. */
export interface Admission {
  /** Bytes that the chunk takes in the queue. */
  readonly bytes: number;
  /** How full the queue may be for the chunk, as the largest ratio of a measure to its limit (1 is full); 0: any. */
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
 * Takes one stamp for each id of a chunk, or one for a range delete, and notes the chunk as in flight and its ids as pending,
 * in one step. One script decides for all processes, so all get room under the same rule.
 * @throws StampsRefused; PartitionsError when the deployment has another number of partitions
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
      keys.partitions,
      ...ids,
    ],
  );
  const [first, epoch, items, waitingBytes, memoryShare, oldest] = stampReply.parse(reply);
  if (first === -1) throw elsewhere(keys.partitions, waitingBytes);
  const oldestMs = first === 0 || oldest === 0 ? 0 : Math.max(0, stampToMs(first - oldest));
  const waiting = { items, bytes: waitingBytes, memoryShare, oldestMs };
  if (first === 0) throw new StampsRefused(waiting);
  return { first, epoch, waiting };
}

function elsewhere(partitions: number, known: number): Error {
  // Another attempt may succeed: every process that knows Postgres looks after this.
  if (known === 0) return new Error('Redis does not know any more how many partitions there are');
  return new PartitionsError(
    `The deployment has ${known} partitions, and this process goes by ${partitions}. Nothing was queued; start the process again.`,
  );
}

/**
 * Makes Redis know the script of `takeStamps`. Otherwise the first call sends it after Redis has asked for it, and a later call
 * could get the earlier stamps.
 */
export async function prepareStamps(redis: Redis, keys: Keys): Promise<void> {
  await stampScript.load(masterOf(redis, keys.clock));
}

/** The clock's epoch, begun here when Redis is empty. */
export async function clockEpoch(redis: Redis, keys: Keys): Promise<string> {
  return z.string().parse(await raiseScript.run(redis, [keys.clock], ['0', randomUUID()]));
}

/** Makes the clock give only stamps above `stamp` (1 or more). */
export async function raiseClock(redis: Redis, keys: Keys, stamp: Stamp): Promise<void> {
  await raiseScript.run(redis, [keys.clock], [String(stamp), randomUUID()]);
}

/** Whether `raiseClock` was called since Redis was last empty. */
export async function isClockRaised(redis: Redis, keys: Keys): Promise<boolean> {
  return (await redis.hexists(keys.clock, 'raised')) === 1;
}

const sweepScript = new Script('sweep-orphans');
const withdrawScript = new Script('withdraw');
const timeoutScript = new Script('note-timeout');
const sweepReply = z.tuple([z.int(), z.int(), z.string()]);
const withdrawReply = z.enum(['withdrawn', 'queued', 'settled', 'lost']);

/** Added to the time-out: the clocks of producer and Redis differ, and an add may be on the wire when its time is up. */
const GRACE_MS = 3000;
/** No job is on the wire for longer than a day. */
const REMEMBERED_US = 24 * 3600 * 1_000_000;
/** They take 10 MB of Redis. */
const REMEMBERED_CHUNKS = 100_000;

export interface Swept {
  readonly chunks: number;
  readonly ids: number;
}

/** Age in µs from which a chunk without a job is an orphan, because no producer tries to add it any more. */
export async function orphanAgeUs(redis: Redis, keys: Keys, enqueueTimeoutMs: number): Promise<number> {
  const longest = Number(await redis.zscore(keys.timeouts, 'enqueue'));
  return (Math.max(longest, enqueueTimeoutMs) + GRACE_MS) * 1000;
}

/** Notes how long a producer tries to add a chunk, so that no sweep takes it for an orphan before. */
export async function noteEnqueueTimeout(redis: Redis, keys: Keys, enqueueTimeoutMs: number): Promise<void> {
  await timeoutScript.run(redis, [keys.timeouts], [enqueueTimeoutMs]);
}

/** Drops the notes of chunks that were stamped but never queued. Each call looks at a few hundred ids, so Redis serves others in between. */
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

/** Drops only the notes of chunks, which hold up range deletes, and those of the first few hundred ids. */
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
 * Takes a chunk's notes back unless its job is in Redis. `withdrawn`: it will never be applied, even if the job arrives
 * later. `queued`, `settled`: its job did arrive. `lost`: Redis lost its data, so nothing is known.
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

/** The chunks among these whose notes were taken back before their jobs arrived. The caller holds their jobs. */
export async function sweptAmong(
  redis: Redis,
  keys: Keys,
  chunkIds: readonly string[],
): Promise<ReadonlySet<string>> {
  if (chunkIds.length === 0) return new Set();
  const times = await redis.zmscore(keys.swept, ...chunkIds);
  return new Set(chunkIds.filter((_, i) => times[i] !== null));
}

const noteScript = new Script('note-replay');
const forgetScript = new Script('forget-replay');

/** What is to be noted as pending. `stamp`: of a row the newer one of its two. */
export interface NotedRow {
  readonly id: string;
  readonly stamp: Stamp;
}

/**
 * Notes a replaying chunk as in flight, so that range deletes that come later wait for it.
 * @returns the epoch of Redis, or undefined when a range delete is at work: try again when it has settled
 */
export async function noteReplay(
  redis: Redis,
  keys: Keys,
  chunkId: string,
  operations: readonly NotedRow[],
): Promise<string | undefined> {
  const reply = await noteScript.run(
    redis,
    [keys.inflight, keys.pending, keys.ranges, keys.clock],
    [chunkId, randomUUID(), ...operations.flatMap(({ id, stamp }) => [id, stamp])],
  );
  return z.string().nullable().parse(reply) ?? undefined;
}

/** Takes the notes back: the chunk was never queued. @param operations as they were noted */
export async function forgetReplay(
  redis: Redis,
  keys: Keys,
  chunkId: string,
  operations: readonly NotedRow[],
): Promise<void> {
  const args = [chunkId, ...operations.flatMap(({ id, stamp }) => [id, stamp])];
  await forgetScript.run(redis, [keys.inflight, keys.pending], args);
}

const noteMovedScript = new Script('note-moved');
const noteMovedReply = z.tuple([z.string(), z.coerce.number()]);

/**
 * Notes a chunk with rows of another deployment as in flight, and raises the clock to their stamps.
 * @param maxAheadMs milliseconds that the stamps may be ahead of the clock of Redis
 * @returns the epoch of Redis, undefined when a stamp is too far ahead and nothing was done; and the time of Redis in µs
 */
export async function noteMoved(
  redis: Redis,
  keys: Keys,
  chunkId: string,
  rows: readonly NotedRow[],
  maxAheadMs: number,
): Promise<{ readonly epoch: string | undefined; readonly now: Stamp }> {
  const newest = rows.reduce((max, { stamp }) => Math.max(max, stamp), 0);
  const reply = await noteMovedScript.run(
    redis,
    [keys.inflight, keys.pending, keys.clock],
    [chunkId, randomUUID(), newest, maxAheadMs * 1000, ...rows.flatMap(({ id, stamp }) => [id, stamp])],
  );
  const [epoch, now] = noteMovedReply.parse(reply);
  return { epoch: epoch === '' ? undefined : epoch, now };
}
