import { abortableOpen } from '../abortable.ts';
import { loadConfig, type OpenOptions, type Options } from '../config.ts';
import { QueueUnavailableError, messageOf, TierlineError } from '../errors.ts';
import { keysOf } from '../keys.ts';
import { createLogger } from '../log.ts';
import { Digester } from '../merkle/digest.ts';
import { claimMerkleKey } from '../postgres/merkle-key.ts';
import { closePool, createPool } from '../postgres/pool.ts';
import { checkDrainRights, checkPostgres } from '../postgres/server.ts';
import { isClockRaised } from '../redis/clock.ts';
import { CacheGeneration } from '../redis/cache-generation.ts';
import { checkQueueServer, closeRedis, createRedis, whenReady } from '../redis/connect.ts';
import { runWhenFull } from '../redis/run-when-full.ts';
import { ItemStore } from '../redis/item-store.ts';
import { StopPhases } from '../stop-phases.ts';
import { raiseAboveRows } from './writer-parts.ts';
import { Drain } from './drain.ts';
import { type DrainObserver, UNOBSERVED_DRAIN } from './drain-observer.ts';

export interface DrainWorker extends AsyncDisposable {
  /** Takes no new work, settles what is in hand, and ends within `shutdownMs` also when a backend is away. */
  close(): Promise<void>;
}

const START_TIMEOUT_MS = 5000;

/**
 * Starts draining the writes queue in this process. Any number of processes may.
 * @throws ConfigError, QueueUnavailableError, TierUnavailableError, UnsafeServerError, SchemaMissingError, MerkleKeyError
 */
export function startDrain(
  options?: OpenOptions,
  observer: DrainObserver = UNOBSERVED_DRAIN,
): Promise<DrainWorker> {
  return abortableOpen(options, (overrides) => connectDrain(overrides, observer));
}

async function connectDrain(options: Options, observer: DrainObserver): Promise<DrainWorker> {
  const config = loadConfig(options);
  const log = createLogger('drain', config.logLevel);
  const keys = keysOf(config.namespace);
  const queue = createRedis(config.redisUrl, 'failFast', log);
  const cache = createRedis(config.cacheRedisUrl ?? config.redisUrl, 'failFast', log);
  const blocking = createRedis(config.redisUrl, 'patient', log);
  runWhenFull(blocking);
  const watch = createRedis(config.redisUrl, 'failFast', log);
  const pool = createPool(config.databaseUrl, config.poolSize, log);
  const generation = new CacheGeneration(cache, queue, keys, config, log);
  const stopRetrying = new AbortController();

  async function release(): Promise<void> {
    generation.close();
    // Not politely: it may be blocked for a while.
    watch.disconnect();
    await Promise.all([closeRedis(queue), closeRedis(cache), closeRedis(blocking), closePool(pool)]);
  }

  const parts = {
    pool,
    queue,
    keys,
    config,
    log,
    observer,
    items: new ItemStore(cache, generation),
    digester: new Digester(config.merkleKey),
    signal: stopRetrying.signal,
  };
  let started: Drain | undefined;
  try {
    await Promise.all([
      whenReady(queue, START_TIMEOUT_MS),
      whenReady(cache, START_TIMEOUT_MS),
      whenReady(blocking, START_TIMEOUT_MS),
      whenReady(watch, START_TIMEOUT_MS),
    ]);
    await checkQueueServer(queue, log);
    await Promise.all([generation.known(START_TIMEOUT_MS), checkPostgres(pool)]);
    await checkDrainRights(pool);
    await claimMerkleKey(pool, config.merkleKey);
    if (!(await isClockRaised(queue, keys))) await raiseAboveRows(parts);
    started = new Drain(parts, blocking, watch);
    await started.ready(START_TIMEOUT_MS);
  } catch (error) {
    await started?.close();
    await release();
    if (error instanceof TierlineError) throw error;
    throw new QueueUnavailableError(
      `Redis cannot be reached: ${messageOf(error)}. Check REDIS_URL and start again.`,
      { cause: error },
    );
  }
  const drain = started;
  log.info({ concurrency: config.drainConcurrency }, 'drain started');

  let closing: Promise<void> | undefined;
  async function stop(): Promise<void> {
    const phases = new StopPhases(config.shutdownMs);
    const giveUp = setTimeout(() => stopRetrying.abort(), phases.left('retries'));
    const settled = await phases.within('work', drain.finish());
    clearTimeout(giveUp);
    stopRetrying.abort();
    await phases.within('workers', drain.close());
    await phases.within('connections', release());
    log.info(
      settled ? 'drain stopped' : 'drain stopped at its deadline; the queue gives its chunks to others',
    );
  }
  const close = () => (closing ??= stop());
  return { close, [Symbol.asyncDispose]: close };
}
