import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { FastifyInstance } from 'fastify';
import type { DrainObserver } from '../drain/writer-parts.ts';
import type { ChoreObserver } from '../maintenance/chores.ts';
import type { PeerObserver } from '../peers/follow.ts';
import type { RowFault } from '../postgres/merkle-verify.ts';
import type { ProducerObserver } from '../producer/producer-observer.ts';
import { OUTCOME_STATUSES } from '../schema/feed.ts';
import { Instruments, seconds, SETTLE_BUCKETS, STAGE_BUCKETS } from './registry.ts';

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

/** What the sweep of L2 finds: a label of `tierline_copies_found_total`. */
const FINDINGS = ['stale', 'corrupt', 'deleted', 'outdated', 'lost'] as const;
/** What the sweep of rows finds: a label of `tierline_rows_found_total`. */
const ROW_FAULTS = ['content', 'digest', 'place'] as const satisfies readonly RowFault[];

/** The chores of this maintenance process: how often, how long, and when each last succeeded. */
export function maintenanceMetrics(registry: Registry): ChoreObserver {
  const make = new Instruments(registry);
  const registers = [registry];
  const runs = new Counter({
    name: 'tierline_chore_runs_total',
    help: 'Chores that this process ran, by result',
    labelNames: ['chore', 'result'],
    registers,
  });
  const duration = make.histogramBy(
    'tierline_chore_seconds',
    'Duration of chores, failed ones included',
    'chore',
    [],
  );
  const lastSuccess = new Gauge({
    name: 'tierline_chore_last_success_timestamp_seconds',
    help: 'When the chore last succeeded in this process, in seconds since 1970',
    labelNames: ['chore'],
    registers,
  });
  const copiesCompared = make.counter(
    'tierline_copies_compared_total',
    'L2 copies that this process compared with their rows',
  );
  const copiesFound = make.counterBy(
    'tierline_copies_found_total',
    'L2 copies that differed from their rows, by what was found',
    'finding',
    FINDINGS,
  );
  const rowsVerified = make.counter(
    'tierline_rows_verified_total',
    'Rows whose hash and digest this process made again',
  );
  const rowsFound = make.counterBy(
    'tierline_rows_found_total',
    'Rows that were not as their writers left them, by what was found',
    'finding',
    ROW_FAULTS,
  );
  return {
    choreEnded(chore, ms, failed) {
      runs.inc({ chore, result: failed ? 'failed' : 'ok' });
      duration.observe({ chore }, seconds(ms));
      if (!failed) lastSuccess.set({ chore }, seconds(Date.now()));
    },
    copiesCompared(figures) {
      copiesCompared.inc(figures.checked);
      for (const finding of FINDINGS) copiesFound.inc({ finding }, figures[finding]);
    },
    rowsVerified(rows, faults) {
      rowsVerified.inc(rows);
      for (const finding of faults) rowsFound.inc({ finding });
    },
  };
}

/** What a gateway shows of its requests. */
export interface GatewayMetrics {
  /** Counts the requests of this server. Call it before its routes are added. */
  watch(app: Pick<FastifyInstance, 'addHook'>): void;
}

export function gatewayMetrics(registry: Registry): GatewayMetrics {
  const registers = [registry];
  const requests = new Counter({
    name: 'tierline_gateway_requests_total',
    help: 'Requests answered, by route and status; the route none is every path that does not exist',
    labelNames: ['method', 'route', 'status'],
    registers,
  });
  const duration = new Histogram({
    name: 'tierline_gateway_request_seconds',
    help: 'From the headers of a request to the end of its answer',
    labelNames: ['method', 'route'],
    buckets: STAGE_BUCKETS,
    registers,
  });
  return {
    watch: (app) =>
      app.addHook('onResponse', (request, reply, done) => {
        const { method } = request;
        const { url: route = 'none' } = request.routeOptions;
        requests.inc({ method, route, status: reply.statusCode });
        duration.observe({ method, route }, seconds(reply.elapsedTime));
        done();
      }),
  };
}

/** How this deployment and its peers agree. A peer that this process has not compared yet has no series. */
export function peerMetrics(registry: Registry): PeerObserver {
  const registers = [registry];
  const comparisons = new Counter({
    name: 'tierline_peer_comparisons_total',
    help: 'Comparisons with a peer by this process, by result: equal, different afterwards, or failed',
    labelNames: ['peer', 'result'],
    registers,
  });
  const lastEqual = new Gauge({
    name: 'tierline_peer_last_equal_timestamp_seconds',
    help: 'When this process last found the peer equal, in seconds since 1970',
    labelNames: ['peer'],
    registers,
  });
  const differences = new Gauge({
    name: 'tierline_peer_differences',
    help: 'Rows that still differed from the peer after the last comparison',
    labelNames: ['peer'],
    registers,
  });
  const moved = new Counter({
    name: 'tierline_peer_rows_moved_total',
    help: 'Rows that repairs moved, by direction: pull from the peer, or push to it',
    labelNames: ['peer', 'direction'],
    registers,
  });
  const bytes = new Counter({
    name: 'tierline_peer_bytes_total',
    help: 'Bytes of requests to the peer and of their answers',
    labelNames: ['peer'],
    registers,
  });
  return {
    compared(peer, { equal, left, pulled, pushed }, traffic) {
      comparisons.inc({ peer, result: equal ? 'equal' : 'different' });
      if (equal) lastEqual.set({ peer }, seconds(Date.now()));
      differences.set({ peer }, left);
      moved.inc({ peer, direction: 'pull' }, pulled.rows);
      moved.inc({ peer, direction: 'push' }, pushed.rows);
      bytes.inc({ peer }, traffic);
    },
    failed(peer) {
      comparisons.inc({ peer, result: 'failed' });
    },
  };
}

/** What a process submits. Pass it to `openProducer` or `openStore` as the observer. */
export function producerMetrics(registry: Registry): ProducerObserver {
  const make = new Instruments(registry);
  const submits = make.counterBy(
    'tierline_producer_submits_total',
    'Operations handed to the queue: accepted, full: the queue had no room, refused: Redis did not take them',
    'result',
    ['accepted', 'full', 'refused'],
  );
  const submittedBytes = make.counter(
    'tierline_producer_submitted_bytes_total',
    'Content bytes of accepted operations',
  );
  const chunks = make.counter('tierline_producer_chunks_total', 'Chunks accepted by the queue');
  const chunkItems = make.histogram(
    'tierline_producer_chunk_items',
    'Operations in one chunk',
    [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000],
  );
  const enqueue = make.histogram(
    'tierline_producer_enqueue_seconds',
    'From a full chunk to its job in Redis',
    STAGE_BUCKETS,
  );
  const delay = make.histogram(
    'tierline_producer_delay_seconds',
    'How long a chunk waited because the queue filled up; one observation a delayed chunk',
    STAGE_BUCKETS,
  );
  const settled = make.counterBy(
    'tierline_producer_settled_items_total',
    'Operations of this process whose fate is known; lost: Redis came back without them, or this process closed first',
    'result',
    ['settled', 'lost'],
  );
  return {
    chunkQueued({ items, bytes, enqueueMs }) {
      chunks.inc();
      submits.inc({ result: 'accepted' }, items);
      submittedBytes.inc(bytes);
      chunkItems.observe(items);
      enqueue.observe(seconds(enqueueMs));
    },
    chunkRefused: (items, kind) => submits.inc({ result: kind }, items),
    chunkDelayed: (delayMs) => delay.observe(seconds(delayMs)),
    chunkSettled: (items, failed) => settled.inc({ result: failed ? 'lost' : 'settled' }, items),
  };
}
