import type { Job, Processor, Worker } from 'bullmq';
import { within } from '../abortable.ts';
import { Batcher } from '../batch/batcher.ts';
import type { Chunk } from '../batch/fold.ts';
import { RANGES_QUEUE, WRITES_QUEUE } from '../keys.ts';
import { chunkSchema, parseJob, rangeIdSchema, rangeSchema } from '../schema/job.ts';
import type { Redis } from '../redis/client.ts';
import { dropUnreadableFields } from '../redis/bull-queue.ts';
import { sweptAmong } from '../redis/chunk-notes.ts';
import { BatchWriter, type ChunkFate } from './batch-writer.ts';
import { TextJobWorker, type WorkerBounds } from './job-worker.ts';
import { RangeDelete, type RangeEnd, type RangeRun } from './range-delete.ts';
import { LATE, refuseJob } from './refusals.ts';
import { NO_WAIT, WaitingJobs } from './waiting-jobs.ts';
import { untilDone, type WriterParts } from './writer-parts.ts';

/** Two batches at once keep Postgres and Redis busy together; a third only made both wait (bench/drain). */
const BATCHES_IN_FLIGHT = 2;

/** How many range deletes that find nothing share one commit. */
const RANGES_TOGETHER = 100;

/** Takes chunks from the queue, merges them into batches and completes them once their batch has settled. */
export class Drain {
  readonly #parts: WriterParts;
  readonly #batcher: Batcher<Chunk, ChunkFate>;
  readonly #worker: Worker<string, void>;
  readonly #ranges: Worker;
  readonly #rangeDelete: RangeDelete;
  readonly #rangeBatcher: Batcher<RangeRun, RangeEnd>;
  readonly #waiting: WaitingJobs;
  #paused: Promise<unknown> | undefined;

  /**
   * @param connection a `patient` one: BullMQ's workers wait for Redis
   * @param watch a `failFast` one that nobody else uses
   */
  constructor(parts: WriterParts, connection: Redis, watch: Redis) {
    const { config } = parts;
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
    this.#rangeDelete = new RangeDelete(parts);
    this.#rangeBatcher = new Batcher({
      maxItems: RANGES_TOGETHER,
      maxBytes: Number.POSITIVE_INFINITY,
      waitMs: 0,
      maxInFlight: 1,
      sizeOf: () => ({ items: 1, bytes: 0 }),
      write: (runs) => this.#rangeDelete.runAll(runs),
    });
    this.#waiting = new WaitingJobs(parts, watch);
    this.#worker = this.#startWorker(
      WRITES_QUEUE,
      { concurrency: config.drainConcurrency, maxBytes: config.drainMaxBytes },
      connection,
      (job, token) => this.#process(job, token),
    );
    // Range deletes take long and wait for chunks. On slots of their own they cannot block the chunks they wait for.
    this.#ranges = this.#startWorker(
      RANGES_QUEUE,
      { concurrency: RANGES_TOGETHER, maxBytes: config.drainMaxBytes },
      connection,
      (job, token) => this.#deleteRange(job, token),
    );
  }

  /**
   * BullMQ prepares its connections only once, when a worker starts. If Redis were lost just then, the worker would never take
   * a job and never report an error.
   * @throws why it could not, or a timeout
   */
  async ready(timeoutMs: number): Promise<void> {
    await within(timeoutMs, Promise.all([this.#worker.waitUntilReady(), this.#ranges.waitUntilReady()]));
  }

  #startWorker(
    queue: string,
    bounds: WorkerBounds,
    connection: Redis,
    processor: Processor<string, void>,
  ): Worker<string, void> {
    const { config, keys, log } = this.#parts;
    const worker = new TextJobWorker(queue, processor, bounds, {
      connection,
      prefix: keys.queuePrefix,
      // BullMQ's lock on a job. A timer renews it, so only a blocked or dead process loses it.
      lockDuration: config.chunkLockMs,
      stalledInterval: config.chunkLockMs / 2,
      // A job never fails because many workers crashed while they had it (I3).
      maxStalledCount: Number.MAX_SAFE_INTEGER,
      removeOnComplete: { count: 0 },
      // The pause after an outage of Redis. BullMQ's own 15 s would delay work and a stop.
      runRetryDelay: 1000,
    });
    worker.on('error', (error) => log.warn({ err: error, queue }, 'queue connection error'));
    worker.on('stalled', (jobId) => {
      dropUnreadableFields(this.#parts.queue, keys.job(queue, jobId)).catch((error: unknown) =>
        log.debug({ err: error, queue, job: jobId }, 'a stalled job was not looked at; it stalls again'),
      );
    });
    worker.on('failed', (job, error) =>
      log.error({ err: error, queue, job: job?.id }, 'job failed, the queue tries again'),
    );
    return worker;
  }

  /** Takes no new chunk and waits for those in hand. While Redis is away it does not resolve. */
  async finish(): Promise<void> {
    const waiting = this.#waiting.finish();
    this.#rangeDelete.stop();
    this.#paused = Promise.allSettled([this.#worker.pause(), this.#ranges.pause()]);
    await Promise.all([this.#paused, waiting]);
  }

  /**
   * Ends BullMQ's workers at once, after `finish` or during it. Their own `close()` waits for work in hand, cannot be stopped,
   * and leaves its timers running.
   */
  async close(): Promise<void> {
    await Promise.all([this.#worker.close(true), this.#ranges.close(true)]);
    // When Redis returns now, the pause resolves and has opened its blocking connection again.
    void this.#paused?.then(() => Promise.allSettled([this.#worker.disconnect(), this.#ranges.disconnect()]));
  }

  async #process(job: Job<string>, token: string | undefined): Promise<void> {
    const chunkId = job.id ?? '';
    const bytes = job.data.length;
    const started = performance.now();
    const parsed = parseJob(chunkSchema, chunkId, job.data);
    this.#parts.observer.chunkParsed(performance.now() - started);
    if ('problem' in parsed) return this.#refuse(job, token, `not a chunk: ${parsed.problem}`);
    // The text is parsed and no longer needed. Without it a chunk in hand is kept only once.
    job.data = '';
    const chunk = { chunkId, job: parsed.data };
    return this.#waiting.process(job, token, bytes, async () => {
      const fate = await this.#batcher.add(chunk);
      // Undefined: nothing to wait for, the job is done.
      return fate === 'settled' ? undefined : fate;
    });
  }

  async #deleteRange(job: Job<string>, token: string | undefined): Promise<void> {
    const rangeId = job.id ?? '';
    const text = job.data;
    const parsed = parseJob(rangeSchema, rangeId, text);
    if ('problem' in parsed) return this.#refuse(job, token, `not a range delete: ${parsed.problem}`);
    if (!rangeIdSchema.safeParse(rangeId).success) {
      return this.#refuse(job, token, 'not a range delete: its id is no UUID');
    }
    const { queue, keys } = this.#parts;
    const late = await untilDone(this.#parts, 'late', () => sweptAmong(queue, keys, [rangeId]));
    if (late.size > 0) return this.#refuse(job, token, LATE);
    const range = parsed.data;
    const { stamp } = range;
    return this.#waiting.process(job, token, text.length, async () => {
      const end = await this.#rangeBatcher.add({
        rangeId,
        job: { ...range, hashes: this.#parts.hashes },
        report: (progress) => job.updateProgress(progress),
      });
      if (end === 'earlier') return { chunks: stamp, ranges: stamp, together: { chunks: stamp, ranges: 0 } };
      if (end === 'stopped') return NO_WAIT;
      if (end !== 'done') await refuseJob(this.#parts, rangeId, text, `Postgres refused it: ${end.refused}`);
      return undefined;
    });
  }

  #refuse(job: Job<string>, token: string | undefined, problem: string): Promise<void> {
    return this.#waiting.process(job, token, 0, async () => {
      await refuseJob(this.#parts, job.id ?? '', job.data, problem);
      return undefined;
    });
  }
}
