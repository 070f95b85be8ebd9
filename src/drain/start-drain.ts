import { abortableOpen } from '../abortable.ts';
import { type Config, loadConfig, type OpenOptions, type Options } from '../config.ts';
import type { Keys } from '../keys.ts';
import { hashRangeOf, type Lanes } from '../lanes.ts';
import { createLogger } from '../log.ts';
import { Digester } from '../merkle/digest.ts';
import { claimMerkleKeys } from '../postgres/merkle-key.ts';
import { checkDrainRights } from '../postgres/server.ts';
import type { Shards } from '../postgres/shards.ts';
import type { Redis } from '../redis/client.ts';
import { whenReady } from '../redis/connect.ts';
import { checkQueueServer } from '../redis/queue-server.ts';
import { StopPhases } from '../stop-phases.ts';
import { Backends } from '../tiers/backends.ts';
import { Drain } from './drain.ts';
import { configOfLane, drainedPartitions, LaneDrains } from './lane-drains.ts';
import { type DrainObserver, raiseClocks, UNOBSERVED_DRAIN, type WriterParts } from './writer-parts.ts';

export interface DrainWorker extends AsyncDisposable {
  /** Takes no new work, settles what is in hand, and ends within `shutdownMs` also when a backend is away. */
  close(): Promise<void>;
}

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
  const { queue, shards } = backends;
  const stopRetrying = new AbortController();
  const shared = {
    queue,
    log,
    observer,
    items: backends.items,
    digester: new Digester(config.merkleKey),
    signal: stopRetrying.signal,
  };
  const drain = await backends.opening(async () => {
    await backends.ready(backends.startTimeoutMs, 'queue', 'blocking');
    await checkQueueServer(queue, log);
    await backends.postgresReady();
    const lanes = await backends.lanes();
    const drained = drainedPartitions(config, lanes.count);
    const watches = drained.map((partition) => backends.watch(partition));
    await Promise.all([
      backends.ready(backends.startTimeoutMs, 'cache'),
      ...watches.map((watch) => whenReady(watch, backends.startTimeoutMs)),
    ]);
    await shards.each(({ pool }) => checkDrainRights(pool));
    await claimMerkleKeys(shards, config.merkleKey);
    const parts = partsOfLanes(shared, shards, config, lanes, drained);
    await raiseClocks(parts);
    const started = new LaneDrains(
      parts.map((lane, i) => new Drain(lane, backends.blocking, watches[i] as Redis)),
    );
    await started.ready(backends.startTimeoutMs).catch(async (error: unknown) => {
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

function partsOfLanes(
  shared: Omit<WriterParts, 'keys' | 'hashes' | 'config' | 'partition'>,
  shards: Shards,
  config: Config,
  lanes: Lanes,
  drained: readonly number[],
): WriterParts[] {
  const ofLane = configOfLane(config, drained.length, lanes.count);
  return drained.map((partition) => ({
    ...shared,
    partition: shards.rowsOf(partition),
    keys: lanes.keys[partition] as Keys,
    hashes: hashRangeOf(partition, lanes.count),
    config: ofLane,
  }));
}
