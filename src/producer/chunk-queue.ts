import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import { stampToMs } from '../clock.ts';
import type { Config } from '../config.ts';
import { messageOf, QueueUnavailableError } from '../errors.ts';
import { type Keys, RANGES_QUEUE, WRITES_QUEUE } from '../keys.ts';
import type { Logger } from '../log.ts';
import { takeStamps } from '../redis/clock.ts';
import { whenReady, within, type Redis } from '../redis/connect.ts';
import { type DoubtfulChunk, withdrawChunk } from '../redis/orphans.ts';
import { type Waiting, waitingNow } from '../redis/pending.ts';
import { CHUNK_JOB, RANGE_JOB, type RangeJob, WRITE_JOB_OPTIONS } from '../schema/job.ts';
import type { ChunkTracker } from './chunk-tracker.ts';
import { type Operation, toChunkJob } from './operation.ts';
import { TrackedChunk } from './tracked-chunk.ts';

/** The last part of `enqueueTimeoutMs`, in which a chunk is taken back that was not seen to arrive. */
const WITHDRAW_MS = 250;

/** Puts chunks into BullMQ: stamps first, then the job, so that the queue holds only stamped work. */
export class ChunkQueue {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #config: Config;
  readonly #tracker: ChunkTracker;
  readonly #writes: Queue;
  readonly #ranges: Queue;
  #waiting: Waiting = { items: 0, oldestMs: 0 };
  #looking = false;
  readonly #adding = new Set<Promise<TrackedChunk>>();

  /** @param redis a `failFast` connection that is ready. */
  constructor(redis: Redis, keys: Keys, config: Config, tracker: ChunkTracker, log: Logger) {
    this.#redis = redis;
    this.#keys = keys;
    this.#config = config;
    this.#tracker = tracker;
    this.#writes = openQueue(WRITES_QUEUE, redis, keys, log);
    this.#ranges = openQueue(RANGES_QUEUE, redis, keys, log);
  }

  /**
   * BullMQ looks at the server once, when it starts; were Redis away just then, every later add would fail with that error.
   * @throws why it could not, or a timeout
   */
  async ready(timeoutMs: number): Promise<void> {
    await before(
      performance.now() + timeoutMs,
      Promise.all([this.#writes.waitUntilReady(), this.#ranges.waitUntilReady()]),
    );
  }

  /** Chunks on their way into Redis. */
  get adding(): Iterable<Promise<TrackedChunk>> {
    return this.#adding;
  }

  /** What Redis said last of what waits: with each chunk's stamps, or when it was looked at again. */
  get waiting(): Waiting {
    return this.#waiting;
  }

  /** Looks at what waits without writing anything; `waiting` tells once Redis has answered. */
  lookAgain(): void {
    if (!this.#looking) void this.#look();
  }

  async #look(): Promise<void> {
    this.#looking = true;
    try {
      this.#waiting = await waitingNow(this.#redis, this.#keys);
    } catch {
      // The next write is told that Redis is away.
    } finally {
      this.#looking = false;
    }
  }

  /**
   * Resolves once the chunk is in Redis. A broken connection is tried again within `enqueueTimeoutMs`: the job's id makes
   * a second add of the same chunk harmless. When that fails the chunk is taken back, and the error says whether Redis took
   * note of it; if the job is there after all, the chunk was accepted.
   * @throws QueueUnavailableError
   */
  add(operations: readonly Operation[], atomic: boolean): Promise<TrackedChunk> {
    const ids = operations.map((operation) => operation.id);
    return this.#add(ids, (chunk) => ({
      queue: this.#writes,
      name: CHUNK_JOB,
      data: toChunkJob(chunk.first, operations, atomic),
    }));
  }

  /** As `add`, for a range delete: one stamp, and a job of the ranges queue. */
  addRange(kind: RangeJob['kind'], value: string): Promise<TrackedChunk> {
    return this.#add([], (chunk) => ({
      queue: this.#ranges,
      name: RANGE_JOB,
      data: { v: 1, kind, value, stamp: chunk.first } satisfies RangeJob,
    }));
  }

  #add(ids: readonly string[], jobOf: (chunk: TrackedChunk) => QueuedJob): Promise<TrackedChunk> {
    const adding = this.#enqueue(ids, jobOf).finally(() => this.#adding.delete(adding));
    this.#adding.add(adding);
    return adding;
  }

  async #enqueue(ids: readonly string[], jobOf: (chunk: TrackedChunk) => QueuedJob): Promise<TrackedChunk> {
    const chunkId = randomUUID();
    const { enqueueTimeoutMs } = this.#config;
    const end = performance.now() + enqueueTimeoutMs;
    const deadline = end - Math.min(WITHDRAW_MS, enqueueTimeoutMs / 4);
    let chunk: TrackedChunk | undefined;
    let sentTo: Queue | undefined;
    for (;;) {
      try {
        await whenReady(this.#redis, Math.max(1, deadline - performance.now()));
        if (chunk === undefined) {
          const range = await before(deadline, takeStamps(this.#redis, this.#keys, chunkId, ids));
          this.#waiting = {
            items: range.pendingIds,
            oldestMs: stampToMs(range.first - range.oldestInflight),
          };
          chunk = new TrackedChunk(chunkId, range.first, ids.length, range.epoch);
          this.#tracker.add(chunk);
        }
        // After a pause of the process the chunk's note may have been swept: its job would be refused as late.
        if (performance.now() > deadline) throw new Error('the process was held up');
        const { queue, name, data } = jobOf(chunk);
        sentTo = queue;
        await before(deadline, queue.add(name, data, { ...WRITE_JOB_OPTIONS, jobId: chunkId }));
        return chunk;
      } catch (error) {
        if (performance.now() < deadline && isConnectionError(error)) {
          await new Promise((resolve) => setTimeout(resolve, 20));
          continue;
        }
        const doubtful = { queue: sentTo?.name ?? '', chunkId, epoch: chunk?.epoch ?? '', ids };
        const fate = await this.#withdraw(doubtful, end);
        if (chunk !== undefined && sentTo !== undefined && fate === 'accepted') return chunk;
        if (chunk !== undefined) this.#tracker.remove(chunk);
        throw refusal(
          error,
          enqueueTimeoutMs,
          sentTo === undefined || fate === 'withdrawn' ? false : 'unknown',
        );
      }
    }
  }

  /** Takes the notes of a chunk back that was perhaps not queued, and finds out whether it was. */
  async #withdraw(chunk: DoubtfulChunk, end: number): Promise<'withdrawn' | 'accepted' | 'unknown'> {
    try {
      await whenReady(this.#redis, Math.max(1, end - performance.now()));
      const fate = await before(end, withdrawChunk(this.#redis, this.#keys, chunk));
      if (fate === 'withdrawn') return 'withdrawn';
      return fate === 'lost' ? 'unknown' : 'accepted';
    } catch {
      // Maintenance sweeps the notes.
      return 'unknown';
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#adding);
    await Promise.all([this.#writes.close(), this.#ranges.close()]);
  }
}

interface QueuedJob {
  readonly queue: Queue;
  readonly name: string;
  readonly data: object;
}

function openQueue(name: string, connection: Redis, keys: Keys, log: Logger): Queue {
  // Nobody listens to BullMQ's own events: barriers stand on the change feed.
  const queue = new Queue(name, {
    connection,
    prefix: keys.queuePrefix,
    streams: { events: { maxLen: 100 } },
  });
  queue.on('error', (error) => log.debug({ err: error }, 'queue connection error'));
  return queue;
}

function refusal(cause: unknown, timeoutMs: number, accepted: false | 'unknown'): QueueUnavailableError {
  const consequence =
    accepted === false
      ? 'It was not accepted; try again.'
      : 'Whether it was accepted is unknown: read the item, or make the same call again.';
  return new QueueUnavailableError(
    `Redis did not take the write within ${timeoutMs} ms: ${messageOf(cause)}. ${consequence}`,
    { cause, accepted },
  );
}

/** An error reply of the server (out of memory, read-only replica) would be the same a moment later. */
function isConnectionError(error: unknown): boolean {
  return !(error instanceof Error && error.name === 'ReplyError');
}

function before<T>(deadline: number, work: Promise<T>): Promise<T> {
  return within(deadline - performance.now(), work);
}
