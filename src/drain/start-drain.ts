import { abortableOpen } from '../abortable.ts';
import { loadConfig, type OpenOptions, type Options } from '../config.ts';
import { createLogger } from '../log.ts';
import { Digester } from '../merkle/digest.ts';
import { claimMerkleKey } from '../postgres/merkle-key.ts';
import { checkDrainRights } from '../postgres/server.ts';
import { isClockRaised } from '../redis/chunk-notes.ts';
import { checkQueueServer } from '../redis/connect.ts';
import { StopPhases } from '../stop-phases.ts';
import { Backends } from '../tiers/backends.ts';
import { type DrainObserver, raiseAboveRows, UNOBSERVED_DRAIN } from './writer-parts.ts';
import { Drain } from './drain.ts';

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
  const backends = new Backends(config, log, config.poolSize);
  const { queue, pool, keys } = backends;
  const stopRetrying = new AbortController();
  const parts = {
    pool,
    queue,
    keys,
    config,
    log,
    observer,
    items: backends.items,
    digester: new Digester(config.merkleKey),
    signal: stopRetrying.signal,
  };
  const drain = await backends.opening(async () => {
    await backends.ready(START_TIMEOUT_MS, 'queue', 'blocking', 'watch');
    await checkQueueServer(queue, log);
    await Promise.all([backends.ready(START_TIMEOUT_MS, 'cache'), backends.postgresReady()]);
    await checkDrainRights(pool);
    await claimMerkleKey(pool, config.merkleKey);
    if (!(await isClockRaised(queue, keys))) await raiseAboveRows(parts);
    const started = new Drain(parts, backends.blocking, backends.watch);
    await started.ready(START_TIMEOUT_MS).catch(async (error: unknown) => {
      await started.close();
      throw error;
    });
    return started;
  });
  log.info({ concurrency: config.drainConcurrency }, 'drain started');

  let closing: Promise<void> | undefined;
  async function stop(): Promise<void> {
    const phases = new StopPhases(config.shutdownMs);
    const giveUp = setTimeout(() => stopRetrying.abort(), phases.left('retries'));
    const settled = await phases.within('work', drain.finish());
    clearTimeout(giveUp);
    stopRetrying.abort();
    await phases.within('workers', drain.close());
    await phases.within('connections', backends.close());
    log.info(
      settled ? 'drain stopped' : 'drain stopped at its deadline; the queue gives its chunks to others',
    );
  }
  const close = () => (closing ??= stop());
  return { close, [Symbol.asyncDispose]: close };
}
