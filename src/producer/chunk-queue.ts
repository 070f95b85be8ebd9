import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import type { Config } from '../config.ts';
import { messageOf, QueueUnavailableError } from '../errors.ts';
import { type Keys, WRITES_QUEUE } from '../keys.ts';
import type { Logger } from '../log.ts';
import { takeStamps, type StampRange } from '../redis/clock.ts';
import { whenReady, type Redis } from '../redis/connect.ts';
import { CHUNK_JOB } from '../schema/job.ts';
import type { ChunkTracker } from './chunk-tracker.ts';
import { type Operation, toChunkJob } from './operation.ts';
import { TrackedChunk } from './tracked-chunk.ts';

/** Drain workers retry inside; a job fails only by a fault of ours, and then the queue goes on trying. */
const JOB_OPTIONS = {
  removeOnComplete: true,
  attempts: 1_000_000,
  backoff: { type: 'fixed', delay: 5000 },
} as const;

/** Puts chunks into BullMQ: stamps first, then the job, so that the queue holds only stamped work. */
export class ChunkQueue {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #config: Config;
  readonly #tracker: ChunkTracker;
  readonly #queue: Queue;
  #last: StampRange | undefined;
  readonly #adding = new Set<Promise<TrackedChunk>>();

  /** @param redis a `failFast` connection that is ready. */
  constructor(redis: Redis, keys: Keys, config: Config, tracker: ChunkTracker, log: Logger) {
    this.#redis = redis;
    this.#keys = keys;
    this.#config = config;
    this.#tracker = tracker;
    this.#queue = new Queue(WRITES_QUEUE, {
      connection: redis,
      prefix: keys.queuePrefix,
      // Nobody listens to BullMQ's own events: barriers stand on the change feed.
      streams: { events: { maxLen: 100 } },
    });
    this.#queue.on('error', (error) => log.debug({ err: error }, 'queue connection error'));
  }

  /**
   * BullMQ looks at the server once, when it starts; were Redis away just then, every later add would fail with that error.
   * @throws why it could not, or a timeout
   */
  async ready(timeoutMs: number): Promise<void> {
    await before(performance.now() + timeoutMs, this.#queue.waitUntilReady());
  }

  /** The newest stamps taken, with what Redis said of the queue then. */
  get lastRange(): StampRange | undefined {
    return this.#last;
  }

  /**
   * Resolves once the chunk is in Redis. A broken connection is tried again within `enqueueTimeoutMs`: the job's id makes
   * a second add of the same chunk harmless.
   * @throws QueueUnavailableError
   */
  add(operations: readonly Operation[], atomic: boolean): Promise<TrackedChunk> {
    const adding = this.#add(operations, atomic).finally(() => this.#adding.delete(adding));
    this.#adding.add(adding);
    return adding;
  }

  async #add(operations: readonly Operation[], atomic: boolean): Promise<TrackedChunk> {
    const chunkId = randomUUID();
    const ids = operations.map((operation) => operation.id);
    const deadline = performance.now() + this.#config.enqueueTimeoutMs;
    let chunk: TrackedChunk | undefined;
    for (;;) {
      try {
        await whenReady(this.#redis, Math.max(1, deadline - performance.now()));
        if (chunk === undefined) {
          const range = await before(deadline, takeStamps(this.#redis, this.#keys, chunkId, ids));
          this.#last = range;
          chunk = new TrackedChunk(chunkId, range.first, operations.length, range.epoch);
          this.#tracker.add(chunk);
        }
        await before(
          deadline,
          this.#queue.add(CHUNK_JOB, toChunkJob(chunk.first, operations, atomic), {
            ...JOB_OPTIONS,
            jobId: chunkId,
          }),
        );
        return chunk;
      } catch (error) {
        if (performance.now() < deadline && isConnectionError(error)) {
          await new Promise((resolve) => setTimeout(resolve, 20));
          continue;
        }
        if (chunk !== undefined) this.#tracker.remove(chunk);
        throw new QueueUnavailableError(
          `Redis did not take the write within ${this.#config.enqueueTimeoutMs} ms: ${messageOf(error)}. It was not accepted; try again.`,
          { cause: error },
        );
      }
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#adding);
    await this.#queue.close();
  }
}

/** An error reply of the server (out of memory, read-only replica) would be the same a moment later. */
function isConnectionError(error: unknown): boolean {
  return !(error instanceof Error && error.name === 'ReplyError');
}

async function before<T>(deadline: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error('no answer in time')),
      Math.max(1, deadline - performance.now()),
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined);
  }
}
