import { type Job, type Processor, type Queue, Worker } from 'bullmq';
import { within } from '../abortable.ts';
import { loadConfig, type Options } from '../config.ts';
import { messageOf } from '../errors.ts';
import { type Keys, MAINTENANCE_QUEUE, WRITES_QUEUE } from '../keys.ts';
import { createLogger, type Logger } from '../log.ts';
import { Digester } from '../merkle/digest.ts';
import { checkMerkleKey } from '../postgres/merkle-key.ts';
import { openQueue } from '../redis/bull-queue.ts';
import { noteChore } from '../redis/history.ts';
import { checkQueueServer } from '../redis/masters.ts';
import { StopPhases } from '../stop-phases.ts';
import { Backends } from '../tiers/backends.ts';
import { type Chore, type ChoreObserver, choresOf, RowSweep, UNOBSERVED_CHORES } from './chores.ts';
import { type ComparePeer, NO_PEERS } from './compare-job.ts';
import { CopySweep } from './copy-sweep.ts';
import { runOnDemand } from './on-demand.ts';

export interface Maintenance extends AsyncDisposable {
  close(): Promise<void>;
}

const POOL_SIZE = 2;

/**
 * Runs the recurring chores: folding Merkle deltas, sweeping notes of chunks that were never queued, purging old tombstones,
 * comparing L2 copies with their rows and rows with their digests, storing the membership filter; and what people ask for (on-demand.ts). The chores are
 * BullMQ job schedulers on a queue of their own with a global concurrency of 1, so any number of processes may run this.
 * @param comparePeer left out: comparisons with peers that people ask for fail, and say so
 * @throws ConfigError, QueueUnavailableError, TierUnavailableError, UnsafeServerError, SchemaMissingError, MerkleKeyError
 */
export async function startMaintenance(
  options: Options = {},
  observer: ChoreObserver = UNOBSERVED_CHORES,
  comparePeer: ComparePeer = NO_PEERS,
): Promise<Maintenance> {
  const config = loadConfig(options);
  const log = createLogger('maintenance', config.logLevel);
  const backends = new Backends(config, log, POOL_SIZE);
  const { queue, cache, shards, items } = backends;
  const digester = new Digester(config.merkleKey);

  const { worker, queues } = await backends.opening(async () => {
    await backends.ready(backends.startTimeoutMs, 'queue', 'blocking');
    // Only the comparison of L2 copies needs the cache, so nothing else waits for it.
    backends.connect('cache');
    await checkQueueServer(queue, log);
    await backends.postgresReady();
    await shards.each(({ pool }) => checkMerkleKey(pool, config.merkleKey));
    const lanes = await backends.lanes();
    const copies = new CopySweep({ shards, queue, cache, items, lanes, digester, config, log, observer });
    const rows = new RowSweep({ shards, queue, keys: lanes.home, digester, log, observer });
    const chores = choresOf({ shards, queue, lanes, config, log }, copies, rows);
    const maintenance = openQueue(MAINTENANCE_QUEUE, queue, lanes.home, log);
    const writes = lanes.keys.map((keys) => openQueue(WRITES_QUEUE, queue, keys, log));
    await schedule(maintenance, chores);
    const onDemand = { shards, redis: queue, writes, lanes, config, copies, comparePeer };
    const run = (job: Job, token?: string) => {
      const chore = chores[job.name];
      return chore === undefined ? runOnDemand(job, token, onDemand) : observed(observer, job.name, chore);
    };
    const maintainer = await startWorker(run, backends, lanes.home, log);
    noteRuns(maintainer, chores, backends, log);
    return { worker: maintainer, queues: [maintenance, ...writes] };
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

async function schedule(queue: Queue, chores: Readonly<Record<string, Chore>>): Promise<void> {
  await queue.setGlobalConcurrency(1);
  for (const [name, { everyMs }] of Object.entries(chores)) {
    // A chore that failed is run again by its schedule: no retries, nothing kept.
    const opts = { removeOnComplete: true, removeOnFail: 100 };
    await queue.upsertJobScheduler(name, { every: everyMs }, { name, opts });
  }
}

async function startWorker(run: Processor, backends: Backends, keys: Keys, log: Logger): Promise<Worker> {
  const worker = new Worker(MAINTENANCE_QUEUE, run, {
    connection: backends.blocking,
    prefix: keys.queuePrefix,
  });
  worker.on('error', (error) => log.warn({ err: error }, 'queue connection error'));
  // BullMQ prepares its connections only once: if Redis were lost just then, the worker would never take a job.
  await within(backends.startTimeoutMs, worker.waitUntilReady()).catch(async (error: unknown) => {
    await worker.close(true);
    throw error;
  });
  return worker;
}

/** Keeps the last run of each chore in Redis, for `tierline doctor` and the dashboard. */
function noteRuns(
  worker: Worker,
  chores: Readonly<Record<string, Chore>>,
  { queue, keys }: Pick<Backends, 'queue' | 'keys'>,
  log: Logger,
): void {
  const note = (job: Job, error?: Error) => {
    if (chores[job.name] === undefined) return;
    const atMs = Date.now();
    const run = { atMs, ms: atMs - (job.processedOn ?? atMs), ...(error && { error: messageOf(error) }) };
    noteChore(queue, keys, job.name, run).catch((failure: unknown) =>
      log.debug({ err: failure, chore: job.name }, 'the run of a chore was not noted'),
    );
  };
  worker.on('completed', (job) => note(job));
  worker.on('failed', (job, error) => {
    if (job !== undefined) note(job, error);
    log.error({ err: error, chore: job?.name }, 'chore failed; a recurring one comes again by its schedule');
  });
}

async function observed(observer: ChoreObserver, name: string, { run }: Chore): Promise<unknown> {
  const started = performance.now();
  let failed = true;
  try {
    const result = await run();
    failed = false;
    return result;
  } finally {
    observer.choreEnded(name, performance.now() - started, failed);
  }
}
