import { retrying } from '../batch/backoff.ts';
import type { Config } from '../config.ts';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import type { Digester } from '../merkle/digest.ts';
import type { Pool } from '../postgres/pool.ts';
import { highestStamp } from '../postgres/totals.ts';
import { raiseClock } from '../redis/chunk-notes.ts';
import type { Redis } from '../redis/connect.ts';
import { settleBatch, type Settlement } from '../redis/in-flight.ts';
import type { OutcomeStatus } from '../schema/feed.ts';
import type { CopyStore } from '../tiers/tier.ts';

/** What everything that writes through the tiers runs on. */
export interface WriterParts {
  readonly pool: Pool;
  readonly queue: Redis;
  readonly items: CopyStore;
  readonly keys: Keys;
  readonly digester: Digester;
  readonly config: Config;
  readonly log: Logger;
  readonly observer: DrainObserver;
  /** Aborted when the process must stop even though a backend is away: retries end. */
  readonly signal: AbortSignal;
}

/** Runs one idempotent step until its backend takes it, or the process must stop (I3, I8). */
export function persist<T>(
  { log, signal, observer }: WriterParts,
  step: string,
  work: () => Promise<T>,
  isTransient: (error: unknown) => boolean = () => true,
): Promise<T> {
  return retrying(work, {
    signal,
    isTransient,
    onRetry: (error, attempt, delayMs) => {
      log.warn({ err: error, step, attempt, delayMs }, 'step failed, trying again');
      observer.stepRetried(step);
    },
  });
}

/**
 * Tells the feed, clears what was in flight, and returns the time on Redis's clock. Undefined when readers use another
 * generation of L2 copies by now: write the copies again and settle then.
 */
export async function settle(parts: WriterParts, settlement: Settlement): Promise<number | undefined> {
  const { queue, keys, config } = parts;
  const settled = await persist(parts, 'feed', () =>
    settleBatch(queue, keys, settlement, config.feedMaxEntries),
  );
  if (settled === undefined) {
    await persist(parts, 'generation', () => parts.items.confirm());
    return undefined;
  }
  if (!settled.clockRaised) await persist(parts, 'clock', () => raiseAboveRows(parts));
  return settled.atMs;
}

/** After Redis was emptied its clock restarts from the time of day; no stamp may lie below what Postgres has. */
export async function raiseAboveRows({
  pool,
  queue,
  keys,
}: Pick<WriterParts, 'pool' | 'queue' | 'keys'>): Promise<void> {
  await raiseClock(queue, keys, Math.max(1, await highestStamp(pool)));
}

/** What one written batch took and what became of its operations. */
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
  /** A step found its backend away and will be tried again. */
  stepRetried(step: string): void;
  /** Copies whose look at Postgres was too old for L2: they were made anew. */
  copiesLate(count: number): void;
  /** Copies that L2 cannot take: what it had of their ids was dropped. */
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
