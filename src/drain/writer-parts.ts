import { retrying } from '../batch/backoff.ts';
import type { Stamp } from '../clock.ts';
import type { Config } from '../config.ts';
import { PartitionMovedError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { HashRange } from '../lanes.ts';
import type { Logger } from '../log.ts';
import type { Digester } from '../merkle/digest.ts';
import type { PartitionRows } from '../postgres/shards.ts';
import { highestStamp } from '../postgres/totals.ts';
import { isClockRaised, raiseClock } from '../redis/chunk-notes.ts';
import type { Redis } from '../redis/client.ts';
import { settleBatch, type Settlement } from '../redis/in-flight.ts';
import type { OutcomeStatus } from '../schema/feed.ts';
import type { CopyStore } from '../tiers/tier.ts';

/** What everything that writes through the tiers needs. */
export interface WriterParts {
  /** The rows of the lane's partition. */
  readonly partition: PartitionRows;
  readonly queue: Redis;
  readonly items: CopyStore;
  /** Of one lane. */
  readonly keys: Keys;
  /** The places of its ids in the hash tree. */
  readonly hashes: HashRange;
  readonly digester: Digester;
  readonly config: Config;
  readonly log: Logger;
  readonly observer: DrainObserver;
  /** Aborted when the process must stop while a backend is away. It ends the retries. */
  readonly signal: AbortSignal;
}

/** Runs one idempotent step until its backend takes it, or the process must stop (I3, I8). */
export function untilDone<T>(
  { log, signal, observer }: WriterParts,
  step: string,
  work: () => Promise<T>,
  isTransient: (error: unknown) => boolean = () => true,
): Promise<T> {
  return retrying(work, {
    signal,
    isTransient,
    onRetry: (error, attempt, delayMs) => {
      if (error instanceof PartitionMovedError) {
        log.debug({ step, partition: error.partition }, 'waits for a partition that is being moved');
        return;
      }
      log.warn({ err: error, step, attempt, delayMs }, 'step failed, trying again');
      observer.stepRetried(step);
    },
  });
}

/**
 * Writes the feed entry, clears the notes of what was in flight, and returns the time on Redis's clock. Undefined when the
 * cache has a new generation: write the copies again, then settle.
 */
export async function settle(parts: WriterParts, settlement: Settlement): Promise<number | undefined> {
  const { queue, keys, config } = parts;
  const settled = await untilDone(parts, 'feed', () =>
    settleBatch(queue, keys, settlement, config.feedMaxEntries),
  );
  if (settled === undefined) {
    await untilDone(parts, 'generation', () => parts.items.confirm());
    return undefined;
  }
  if (!settled.clockRaised) await untilDone(parts, 'clock', () => raiseAboveRows(parts));
  return settled.atMs;
}

/** After Redis was emptied, its clock starts from the time of day. Raises it above every stamp in Postgres. */
async function raiseAboveRows({
  partition,
  queue,
  keys,
}: Pick<WriterParts, 'partition' | 'queue' | 'keys'>): Promise<void> {
  await raiseClock(queue, keys, Math.max(1, await partition.read(highestStamp)));
}

/** The same when a worker starts. The rows of a shard are read once for all its lanes. */
export async function raiseClocks(lanes: readonly WriterParts[]): Promise<void> {
  const highest = new Map<string, Stamp>();
  for (const { queue, keys, partition } of lanes) {
    if (await isClockRaised(queue, keys)) continue;
    const { shard } = partition;
    const stamp = highest.get(shard) ?? (await partition.read(highestStamp));
    highest.set(shard, stamp);
    await raiseClock(queue, keys, Math.max(1, stamp));
  }
}

/** How long one batch took and what became of its operations. */
export interface BatchWritten {
  readonly chunks: number;
  /** How many operations ended in each way. */
  readonly outcomes: Readonly<Record<OutcomeStatus, number>>;
  /** Milliseconds in Postgres, in L2 and on the feed, retries included. */
  readonly postgresMs: number;
  readonly redisMs: number;
  readonly feedMs: number;
  /** Of each chunk, milliseconds from its first stamp to its entry on the feed, both by the clock of Redis. */
  readonly settleLatencyMs: readonly number[];
}

/** Hears what a drain does. Called once a batch or chunk, never an item; it must not throw. */
export interface DrainObserver {
  /** A job was checked against the chunk's schema. */
  chunkParsed(parseMs: number): void;
  /** A job that cannot be run, or came after its submit had been refused, went to `dead_letters`. */
  chunkRefused(): void;
  /** A step failed and will be tried again. */
  stepRetried(step: string): void;
  /** L2 refused copies because their look at Postgres was too old. They were made again. */
  copiesLate(count: number): void;
  /** L2 cannot store some copies. Its older copies of those ids were dropped. */
  copiesDropped(count: number): void;
  batchWritten(batch: BatchWritten): void;
}

export const UNOBSERVED_DRAIN: DrainObserver = {
  chunkParsed: () => undefined,
  chunkRefused: () => undefined,
  stepRetried: () => undefined,
  copiesLate: () => undefined,
  copiesDropped: () => undefined,
  batchWritten: () => undefined,
};
