import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { Stamp } from '../clock.ts';
import type { Keys } from '../keys.ts';
import {
  encodeFeedJobs,
  encodeOutcome,
  type FeedChanges,
  type FeedJob,
  isAllApplied,
} from '../schema/feed.ts';
import { Script } from './script.ts';

const settleScript = new Script('settle');

const settleReply = z.tuple([z.string(), z.number()]);

/** A producer that lost its place on the feed may ask for outcomes this long. */
const OUTCOME_TTL_MS = 3_600_000;

export interface Settlement {
  readonly jobs: readonly FeedJob[];
  readonly changes: FeedChanges;
  /** The newest stamp of each id in the batch. */
  readonly settled: Iterable<readonly [id: string, stamp: Stamp]>;
  /** Generation in which the copies of the batch were written; undefined when it has none. */
  readonly generation?: string | undefined;
}

export interface Settled {
  readonly entryId: string;
  /** When the entry was written, in milliseconds by the clock of Redis. */
  readonly atMs: number;
  /** False after Redis lost its data, until `raiseClock`. */
  readonly clockRaised: boolean;
}

/**
 * Announces a batch on the feed and clears its in-flight and pending notes, in one step. Undefined, and nothing is done, when
 * readers use another generation of copies than the batch wrote: they would not see it.
 */
export async function settleBatch(
  redis: Redis,
  keys: Keys,
  batch: Settlement,
  feedMaxEntries: number,
): Promise<Settled | undefined> {
  const notable = batch.jobs.filter(({ outcome }) => !isAllApplied(outcome));
  const args: (string | number)[] = [
    feedMaxEntries,
    encodeFeedJobs(batch.jobs),
    JSON.stringify(batch.changes),
    OUTCOME_TTL_MS,
    batch.jobs.length,
    notable.length,
    batch.generation ?? '',
    ...batch.jobs.map(({ chunkId }) => chunkId),
    ...notable.map(({ outcome }) => encodeOutcome(outcome)),
  ];
  for (const [id, stamp] of batch.settled) args.push(id, stamp);
  const outcomeKeys = notable.map(({ chunkId }) => keys.outcome(chunkId));
  const [entryId, raised] = settleReply.parse(
    await settleScript.run(
      redis,
      [
        keys.feed,
        keys.inflight,
        keys.pending,
        keys.clock,
        keys.ranges,
        keys.cache,
        keys.bytes,
        keys.covers,
        keys.settles,
        ...outcomeKeys,
      ],
      args,
    ),
  );
  if (entryId === '') return undefined;
  // A stream's ids begin with the server's time.
  return { entryId, atMs: Number.parseInt(entryId, 10), clockRaised: raised === 1 };
}
