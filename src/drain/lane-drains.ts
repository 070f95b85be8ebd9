import type { Config } from '../config.ts';
import { ConfigError } from '../errors.ts';
import type { Drain } from './drain.ts';

/** The drains of the partitions of one process. None waits for another, so a lane that is held up holds up its own ids only. */
export class LaneDrains implements Pick<Drain, 'ready' | 'finish' | 'close'> {
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
export function drainedPartitions({ drainPartitions }: Config, count: number): readonly number[] {
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
