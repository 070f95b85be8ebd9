import { Counter, Histogram, type Registry } from 'prom-client';
import type { BatchWritten, DrainObserver } from '../drain/writer-parts.ts';
import { OUTCOME_STATUSES } from '../schema/feed.ts';
import { seconds, SETTLE_BUCKETS, STAGE_BUCKETS } from './registry.ts';

/** What a drain worker wrote, how long each stage took, and how long writes waited to settle. */
export class DrainMetrics implements DrainObserver {
  readonly #chunks: Counter;
  readonly #refusedJobs: Counter;
  readonly #settled: Counter<'outcome'>;
  readonly #batches: Counter;
  readonly #batchItems: Histogram;
  readonly #batchChunks: Histogram;
  readonly #stages: Histogram<'stage'>;
  readonly #latency: Histogram;
  readonly #lateCopies: Counter;
  readonly #droppedCopies: Counter;
  readonly #retries: Counter<'step'>;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#chunks = new Counter({
      name: 'tierline_drain_chunks_total',
      help: 'Chunks settled by this worker',
      registers,
    });
    this.#refusedJobs = new Counter({
      name: 'tierline_drain_refused_jobs_total',
      help: 'Jobs that cannot be run, or came too late, and went to dead_letters whole',
      registers,
    });
    this.#settled = new Counter({
      name: 'tierline_drain_settled_items_total',
      help: 'Operations settled by this worker, by outcome',
      labelNames: ['outcome'],
      registers,
    });
    // A rate needs the series to exist before its first event.
    for (const outcome of OUTCOME_STATUSES) this.#settled.inc({ outcome }, 0);
    this.#batches = new Counter({
      name: 'tierline_drain_batches_total',
      help: 'Batches written by this worker',
      registers,
    });
    this.#batchItems = new Histogram({
      name: 'tierline_drain_batch_items',
      help: 'Operations in one batch',
      buckets: [1, 10, 50, 100, 250, 500, 1000, 2000, 5000, 10_000, 20_000],
      registers,
    });
    this.#batchChunks = new Histogram({
      name: 'tierline_drain_batch_chunks',
      help: 'Chunks merged into one batch',
      buckets: [1, 2, 4, 8, 16, 32, 64],
      registers,
    });
    this.#stages = new Histogram({
      name: 'tierline_drain_stage_seconds',
      help: 'Time in one stage: parse of one chunk; postgres, redis and feed of one batch, retries included',
      labelNames: ['stage'],
      buckets: STAGE_BUCKETS,
      registers,
    });
    for (const stage of ['parse', 'postgres', 'redis', 'feed']) this.#stages.zero({ stage });
    this.#latency = new Histogram({
      name: 'tierline_settle_latency_seconds',
      help: 'From the stamp of a chunk to its entry on the feed, both by the clock of Redis; one observation a chunk',
      buckets: SETTLE_BUCKETS,
      registers,
    });
    this.#lateCopies = new Counter({
      name: 'tierline_drain_late_copies_total',
      help: 'L2 copies that were made again because Postgres had been read too long before',
      registers,
    });
    this.#droppedCopies = new Counter({
      name: 'tierline_drain_dropped_copies_total',
      help: 'L2 copies that Redis could not take: what it had of their ids was dropped',
      registers,
    });
    this.#retries = new Counter({
      name: 'tierline_drain_retries_total',
      help: 'Batch steps that found their backend away and were tried again',
      labelNames: ['step'],
      registers,
    });
    for (const step of ['l3', 'l2', 'feed', 'clock']) this.#retries.inc({ step }, 0);
  }

  copiesLate(count: number): void {
    this.#lateCopies.inc(count);
  }

  copiesDropped(count: number): void {
    this.#droppedCopies.inc(count);
  }

  chunkParsed(parseMs: number): void {
    this.#stages.observe({ stage: 'parse' }, seconds(parseMs));
  }

  chunkRefused(): void {
    this.#refusedJobs.inc();
  }

  stepRetried(step: string): void {
    this.#retries.inc({ step });
  }

  batchWritten(batch: BatchWritten): void {
    const { outcomes, chunks } = batch;
    this.#batches.inc();
    this.#chunks.inc(chunks);
    this.#batchItems.observe(Object.values(outcomes).reduce((sum, count) => sum + count, 0));
    this.#batchChunks.observe(chunks);
    for (const outcome of OUTCOME_STATUSES) this.#settled.inc({ outcome }, outcomes[outcome]);
    this.#stages.observe({ stage: 'postgres' }, seconds(batch.postgresMs));
    this.#stages.observe({ stage: 'redis' }, seconds(batch.redisMs));
    this.#stages.observe({ stage: 'feed' }, seconds(batch.feedMs));
    for (const ms of batch.settleLatencyMs) this.#latency.observe(Math.max(0, seconds(ms)));
  }
}
