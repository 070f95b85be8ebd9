import { abortableOpen } from '../abortable.ts';
import { type Config, loadConfig, type OpenOptions, type Options } from '../config.ts';
import { ConfigError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import { hashRangeOf, type Lanes } from '../lanes.ts';
import { createLogger } from '../log.ts';
import { Digester } from '../merkle/digest.ts';
import { claimMerkleKeys } from '../postgres/merkle-key.ts';
import { checkDrainRights } from '../postgres/server.ts';
import type { Shards } from '../postgres/shards.ts';
import type { Redis } from '../redis/client.ts';
import { whenReady } from '../redis/connect.ts';
import { checkQueueServer } from '../redis/masters.ts';
import { StopPhases } from '../stop-phases.ts';
import { Backends } from '../tiers/backends.ts';
import { Drain } from './drain.ts';
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

/** The drains of the partitions of one process. None waits for another, so a lane that is held up holds up its own ids only. */
class LaneDrains implements Pick<Drain, 'ready' | 'finish' | 'close'> {
  readonly #drains: readonly Drain[];

  constructor(drains: readonly Drain[]) {
    this.#drains = drains;
  }

  async ready(timeoutMs: number): Promise<void> {
    await Promise.all(this.#drains.map((drain) => drain.ready(timeoutMs)));
  }

  async finish(): Promise<void> {
    await Promise.all(this.#drains.map((drain) => drain.finish()));
  }

  async close(): Promise<void> {
    await Promise.all(this.#drains.map((drain) => drain.close()));
  }
}

/** The partitions that this process drains. @throws ConfigError */
function drainedPartitions({ drainPartitions }: Config, count: number): readonly number[] {
  if (drainPartitions === undefined) return Array.from({ length: count }, (_, partition) => partition);
  const unknown = drainPartitions.find((partition) => partition >= count);
  if (unknown === undefined) return drainPartitions;
  throw new ConfigError(
    `TIERLINE_DRAIN_PARTITIONS names partition ${unknown}, and the deployment has ${count}: 0 to ${count - 1}.`,
  );
}

/** A lane takes so many chunks at least, as far as the process may, so that batches are worth their statement. */
const LEAST_CHUNKS = 4;

const LEAST_ENTRIES = 10;

/**
 * The share of one lane: of what its process may hold, and of the entries that the feeds of the deployment keep.
 * @param drained partitions of this process
 * @param partitions of the deployment
 */
export function configOfLane(config: Config, drained: number, partitions: number): Config {
  const { drainConcurrency, drainMaxBytes, feedMaxEntries } = config;
  return {
    ...config,
    drainConcurrency: Math.max(
      Math.ceil(drainConcurrency / drained),
      Math.min(LEAST_CHUNKS, drainConcurrency),
    ),
    drainMaxBytes: Math.ceil(drainMaxBytes / drained),
    feedMaxEntries: Math.max(LEAST_ENTRIES, Math.ceil(feedMaxEntries / partitions)),
  };
}
