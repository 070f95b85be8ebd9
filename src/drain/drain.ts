import { type Job, WaitingError, Worker } from 'bullmq';
import { Batcher } from '../batch/batcher.ts';
import type { Chunk } from '../batch/fold.ts';
import { WRITES_QUEUE } from '../keys.ts';
import { insertDeadLetters } from '../postgres/dead-letters.ts';
import { settleBatch } from '../redis/settle.ts';
import { chunkSchema } from '../schema/job.ts';
import type { Redis } from '../redis/connect.ts';
import { BatchWriter, type WriterParts } from './batch-writer.ts';

/** Two batches at once keep Postgres and Redis busy together; a third only made both wait (bench/drain). */
const BATCHES_IN_FLIGHT = 2;

/** Takes chunks from the queue, merges them into batches and completes them once their batch has settled. */
export class Drain {
  readonly #parts: WriterParts;
  readonly #batcher: Batcher<Chunk>;
  readonly #worker: Worker;

  /** @param connection a `patient` one: BullMQ's workers wait for Redis. */
  constructor(parts: WriterParts, connection: Redis) {
    const { config, log } = parts;
    const writer = new BatchWriter(parts);
    this.#parts = parts;
    this.#batcher = new Batcher({
      maxItems: config.batchMaxItems,
      maxBytes: config.batchMaxBytes,
      waitMs: config.batchWaitMs,
      maxInFlight: BATCHES_IN_FLIGHT,
      sizeOf: ({ job }) => ({
        items: job.ids.length,
        bytes: job.bodies.reduce((sum, body) => sum + body.length, 0),
      }),
      write: (chunks) => writer.write(chunks),
    });
    this.#worker = new Worker(WRITES_QUEUE, (job, token) => this.#process(job, token), {
      connection,
      prefix: parts.keys.queuePrefix,
      concurrency: config.drainConcurrency,
      // BullMQ's lock on a chunk: renewed by a timer, so only a blocked or dead process loses it.
      lockDuration: config.chunkLockMs,
      stalledInterval: config.chunkLockMs / 2,
      // A chunk may outlive any number of crashed workers: it never fails for having been started often (I3).
      maxStalledCount: Number.MAX_SAFE_INTEGER,
      removeOnComplete: { count: 0 },
    });
    this.#worker.on('error', (error) => log.warn({ err: error }, 'queue connection error'));
    this.#worker.on('failed', (job, error) =>
      log.error({ err: error, chunk: job?.id }, 'chunk failed, the queue tries again'),
    );
  }

  /** Takes no new chunk and waits for those in hand. */
  async close(): Promise<void> {
    await this.#worker.close();
  }

  async #process(job: Job, token: string | undefined): Promise<void> {
    const chunkId = job.id ?? '';
    const started = performance.now();
    const parsed = chunkSchema.safeParse(job.data);
    this.#parts.observer.chunkParsed(performance.now() - started);
    if (!parsed.success) return this.#refuse(chunkId, job.data, parsed.error.message);
    try {
      await this.#batcher.add({ chunkId, job: parsed.data });
    } catch (error) {
      // Stopping while a backend is away: another worker may have the chunk at once instead of after a stall.
      if (!this.#parts.signal.aborted) throw error;
      await job.moveToWait(token);
      throw new WaitingError();
    }
  }

  /** A job that no producer of ours wrote: kept whole for people to look at, out of the others' way (I9). */
  async #refuse(chunkId: string, data: unknown, reason: string): Promise<void> {
    const { pool, queue, keys, config, log } = this.#parts;
    await insertDeadLetters(pool, [
      {
        itemId: `job:${chunkId}`,
        stamp: 0,
        chunkId,
        payload: JSON.stringify(data),
        sqlState: undefined,
        message: `not a chunk: ${reason}`,
      },
    ]);
    const nothing = { ids: [], cv: [], kinds: '' };
    await settleBatch(
      queue,
      keys,
      { jobs: [[chunkId, 0, []]], changes: nothing, settled: [] },
      config.feedMaxEntries,
    );
    this.#parts.observer.chunkRefused();
    log.error({ chunk: chunkId }, 'job is not a chunk; moved to dead_letters');
  }
}
