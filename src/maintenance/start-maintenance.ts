import { type Job, Worker } from 'bullmq';
import { within } from '../abortable.ts';
import { loadConfig, type Options } from '../config.ts';
import { messageOf } from '../errors.ts';
import { MAINTENANCE_QUEUE, WRITES_QUEUE } from '../keys.ts';
import { createLogger } from '../log.ts';
import { Digester } from '../merkle/digest.ts';
import { foldDeltas, purgeTombstones } from '../postgres/merkle-delta.ts';
import { checkMerkleKey } from '../postgres/merkle-key.ts';
import { purgeRanges } from '../postgres/range-deletes.ts';
import { openQueue } from '../redis/bull-queue.ts';
import { noteChore } from '../redis/history.ts';
import { checkQueueServer } from '../redis/connect.ts';
import { orphanAgeUs, sweepOrphanedChunks, sweepOrphans } from '../redis/chunk-notes.ts';
import { sweepBytes } from '../redis/backlog.ts';
import { StopPhases } from '../stop-phases.ts';
import { Backends } from '../tiers/backends.ts';
import { FilterSource } from '../tiers/filter-source.ts';
import { type ChoreObserver, UNOBSERVED_CHORES } from './chore-observer.ts';
import { CopySweep, SWEEP_STEP_MS } from './copy-sweep.ts';
import { runOnDemand } from './on-demand.ts';

export interface Maintenance extends AsyncDisposable {
  close(): Promise<void>;
}

const START_TIMEOUT_MS = 5000;
const POOL_SIZE = 2;
const SWEEP_EVERY_MS = 60_000;
/** Orphaned chunks hold up range deletes. */
const SWEEP_CHUNKS_EVERY_MS = 2000;
const PURGE_EVERY_MS = 3_600_000;

/**
 * Runs the recurring chores: folding Merkle deltas, sweeping notes of chunks that were never queued, purging old tombstones,
 * comparing L2 copies with their rows, storing the membership filter; and what people ask for (on-demand.ts). The chores are
 * BullMQ job schedulers on a queue of their own with a global concurrency of 1, so any number of processes may run this.
 * @throws ConfigError, QueueUnavailableError, TierUnavailableError, UnsafeServerError, SchemaMissingError, MerkleKeyError
 */
export async function startMaintenance(
  options: Options = {},
  observer: ChoreObserver = UNOBSERVED_CHORES,
): Promise<Maintenance> {
  const config = loadConfig(options);
  const log = createLogger('maintenance', config.logLevel);
  const backends = new Backends(config, log, POOL_SIZE);
  const { queue: redis, cache, pool, keys } = backends;

  const orphanAge = () => orphanAgeUs(redis, keys, config.enqueueTimeoutMs);
  const filters = new FilterSource(pool, redis, keys, log);
  const copies = new CopySweep({
    pool,
    queue: redis,
    cache,
    items: backends.items,
    keys,
    digester: new Digester(config.merkleKey),
    config,
    log,
    observer,
  });
  const chores: Readonly<Record<string, { readonly everyMs: number; readonly run: () => Promise<unknown> }>> =
    {
      fold: { everyMs: config.foldEveryMs, run: () => foldDeltas(pool) },
      orphans: {
        everyMs: SWEEP_CHUNKS_EVERY_MS,
        run: async () => sweepOrphanedChunks(redis, keys, await orphanAge()),
      },
      sweep: {
        everyMs: SWEEP_EVERY_MS,
        run: async () => {
          await sweepOrphans(redis, keys, await orphanAge());
          await sweepBytes(redis, keys);
        },
      },
      purge: {
        everyMs: PURGE_EVERY_MS,
        run: async () => {
          const horizon = (Date.now() - config.purgeAfterMs) * 1000;
          await purgeTombstones(pool, horizon);
          await purgeRanges(pool, horizon);
        },
      },
      copies: { everyMs: SWEEP_STEP_MS, run: () => copies.step() },
      filter: {
        everyMs: config.filterSnapshotEveryMs,
        run: async () => {
          if (config.filterMaxBytes > 0) await filters.refresh(config.filterMaxBytes);
        },
      },
    };

  const { worker, queues } = await backends.opening(async () => {
    await backends.ready(START_TIMEOUT_MS, 'queue', 'blocking');
    // Only the comparison of L2 copies needs the cache, so nothing else waits for it.
    cache.connect().catch(() => undefined);
    await checkQueueServer(redis, log);
    await backends.postgresReady();
    await checkMerkleKey(pool, config.merkleKey);
    const queue = openQueue(MAINTENANCE_QUEUE, redis, keys, log);
    const writes = openQueue(WRITES_QUEUE, redis, keys, log);
    await queue.setGlobalConcurrency(1);
    for (const [name, { everyMs }] of Object.entries(chores)) {
      // A chore that failed comes again by its schedule: no retries, nothing kept.
      await queue.upsertJobScheduler(
        name,
        { every: everyMs },
        { name, opts: { removeOnComplete: true, removeOnFail: 100 } },
      );
    }
    const maintainer = new Worker(
      MAINTENANCE_QUEUE,
      async (job: Job, token?: string) => {
        const chore = chores[job.name];
        if (chore === undefined)
          return runOnDemand(job, token, { pool, redis, writes, keys, config, copies });
        return observed(observer, job.name, chore.run);
      },
      {
        connection: backends.blocking,
        prefix: keys.queuePrefix,
      },
    );
    maintainer.on('error', (error) => log.warn({ err: error }, 'queue connection error'));
    // BullMQ prepares its connections once: were Redis lost just then, the worker would stand idle for ever.
    await within(START_TIMEOUT_MS, maintainer.waitUntilReady()).catch(async (error: unknown) => {
      await maintainer.close(true);
      throw error;
    });
    const note = (job: Job, error?: Error) => {
      if (chores[job.name] === undefined) return;
      const atMs = Date.now();
      const run = { atMs, ms: atMs - (job.processedOn ?? atMs), ...(error && { error: messageOf(error) }) };
      noteChore(redis, keys, job.name, run).catch((failure: unknown) =>
        log.debug({ err: failure, chore: job.name }, 'the run of a chore was not noted'),
      );
    };
    maintainer.on('completed', (job) => note(job));
    maintainer.on('failed', (job, error) => {
      if (job !== undefined) note(job, error);
      log.error(
        { err: error, chore: job?.name },
        'chore failed; a recurring one comes again by its schedule',
      );
    });
    return { worker: maintainer, queues: [queue, writes] };
  });
  log.info('maintenance started');

  let closing: Promise<void> | undefined;
  async function stop(): Promise<void> {
    const phases = new StopPhases(config.shutdownMs);
    await phases.within('work', Promise.all([worker, ...queues].map((part) => part.close())));
    await phases.within('connections', backends.close());
    log.info('maintenance stopped');
  }
  const close = () => (closing ??= stop());
  return { close, [Symbol.asyncDispose]: close };
}

async function observed<T>(
  observer: ChoreObserver,
  chore: string,
  run: (() => Promise<T>) | undefined,
): Promise<T | undefined> {
  const started = performance.now();
  let failed = true;
  try {
    const result = await run?.();
    failed = false;
    return result;
  } finally {
    observer.choreEnded(chore, performance.now() - started, failed);
  }
}
