import type { Registry } from 'prom-client';
import type { DrainObserver } from '../drain/writer-parts.ts';
import { OUTCOME_STATUSES } from '../schema/feed.ts';
import { Instruments, seconds, SETTLE_BUCKETS } from './registry.ts';

/** What a drain worker wrote, how long each stage took, and how long writes waited to settle. */
export function drainMetrics(registry: Registry): DrainObserver {
  const make = new Instruments(registry);
  const chunks = make.counter('tierline_drain_chunks_total', 'Chunks settled by this worker');
  const refusedJobs = make.counter(
    'tierline_drain_refused_jobs_total',
    'Jobs that cannot be run, or came too late, and went to dead_letters whole',
  );
  const settled = make.counterBy(
    'tierline_drain_settled_items_total',
    'Operations settled by this worker, by outcome',
    'outcome',
    OUTCOME_STATUSES,
  );
  const batches = make.counter('tierline_drain_batches_total', 'Batches written by this worker');
  const batchItems = make.histogram(
    'tierline_drain_batch_items',
    'Operations in one batch',
    [1, 10, 50, 100, 250, 500, 1000, 2000, 5000, 10_000, 20_000],
  );
  const batchChunks = make.histogram(
    'tierline_drain_batch_chunks',
    'Chunks merged into one batch',
    [1, 2, 4, 8, 16, 32, 64],
  );
  const stages = make.histogramBy(
    'tierline_drain_stage_seconds',
    'Time in one stage: parse of one chunk; postgres, redis and feed of one batch, retries included',
    'stage',
    ['parse', 'postgres', 'redis', 'feed'],
  );
  const latency = make.histogram(
    'tierline_settle_latency_seconds',
    'From the stamp of a chunk to its entry on the feed, both by the clock of Redis; one observation a chunk',
    SETTLE_BUCKETS,
  );
  const lateCopies = make.counter(
    'tierline_drain_late_copies_total',
    'L2 copies that were made again because Postgres had been read too long before',
  );
  const droppedCopies = make.counter(
    'tierline_drain_dropped_copies_total',
    'L2 copies that Redis could not take: what it had of their ids was dropped',
  );
  const retries = make.counterBy(
    'tierline_drain_retries_total',
    'Batch steps that found their backend away and were tried again',
    'step',
    ['l3', 'l2', 'feed', 'clock'],
  );
  return {
    copiesLate: (count) => lateCopies.inc(count),
    copiesDropped: (count) => droppedCopies.inc(count),
    chunkParsed: (parseMs) => stages.observe({ stage: 'parse' }, seconds(parseMs)),
    chunkRefused: () => refusedJobs.inc(),
    stepRetried: (step) => retries.inc({ step }),
    batchWritten(batch) {
      const { outcomes } = batch;
      batches.inc();
      chunks.inc(batch.chunks);
      batchItems.observe(Object.values(outcomes).reduce((sum, count) => sum + count, 0));
      batchChunks.observe(batch.chunks);
      for (const outcome of OUTCOME_STATUSES) settled.inc({ outcome }, outcomes[outcome]);
      stages.observe({ stage: 'postgres' }, seconds(batch.postgresMs));
      stages.observe({ stage: 'redis' }, seconds(batch.redisMs));
      stages.observe({ stage: 'feed' }, seconds(batch.feedMs));
      for (const ms of batch.settleLatencyMs) latency.observe(Math.max(0, seconds(ms)));
    },
  };
}
