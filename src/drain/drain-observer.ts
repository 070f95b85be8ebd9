import type { OutcomeStatus } from '../schema/feed.ts';

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
