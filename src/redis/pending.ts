import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { Stamp } from '../clock.ts';
import type { Keys } from '../keys.ts';
import { readTogether } from './read-together.ts';
import { type ChunkOutcome, decodeOutcome } from '../schema/feed.ts';

/** The newest unsettled stamp of each id; undefined where none is pending. */
export async function pendingStamps(
  redis: Redis,
  keys: Keys,
  ids: readonly string[],
): Promise<(Stamp | undefined)[]> {
  const stamps = await redis.hmget(keys.pending, ...ids);
  return stamps.map((stamp) => (stamp === null ? undefined : Number(stamp)));
}

/**
 * The first stamp of the oldest chunk in flight: every write stamped before it has settled. Infinity when none is in
 * flight.
 */
export async function settledBelow(redis: Redis, keys: Keys): Promise<Stamp> {
  const [, stamp] = await redis.zrange(keys.inflight, '0', '0', 'WITHSCORES');
  return stamp === undefined ? Number.POSITIVE_INFINITY : Number(stamp);
}

export type ChunkState =
  | { readonly state: 'inflight' }
  /** With an outcome it has settled. Without one every operation was applied, or Redis lost its newest data and the chunk. */
  | { readonly state: 'gone'; readonly outcome: ChunkOutcome | undefined }
  | { readonly state: 'lost' };

/**
 * What became of chunks, without the feed: settling clears `inflight` and stores the outcome in one step.
 * `lost` when Redis is no longer of the epoch in which the chunk was queued. `entries`: number of the newest feed entry then.
 */
export async function chunkStates(
  redis: Redis,
  keys: Keys,
  epoch: string,
  chunkIds: readonly string[],
): Promise<{ readonly states: ChunkState[]; readonly entries: number }> {
  // In one step: between two reads a chunk could settle, or Redis be emptied.
  const outcomeKeys = chunkIds.map((id) => keys.outcome(id));
  const replies = await readTogether(
    redis,
    [keys.clock, keys.inflight, ...outcomeKeys],
    [
      ['HMGET', keys.clock, 'epoch', 'entries'],
      ['ZMSCORE', keys.inflight, ...chunkIds],
      ['MGET', ...outcomeKeys],
    ],
  );
  const [[current, entries], scores, outcomes] = z
    .tuple([
      z.tuple([z.string().nullable(), z.string().nullable()]),
      z.array(z.unknown()),
      z.array(z.string().nullable()),
    ])
    .parse(replies);
  const states = chunkIds.map((_, i): ChunkState => {
    if (current !== epoch) return { state: 'lost' };
    if (scores[i] !== null && scores[i] !== undefined) return { state: 'inflight' };
    const stored = outcomes[i];
    return { state: 'gone', outcome: stored == null ? undefined : decodeOutcome(stored) };
  });
  return { states, entries: Number(entries ?? 0) };
}

/** How many range deletes have not settled. */
export async function rangesInFlight(redis: Redis, keys: Keys): Promise<number> {
  return redis.zcard(keys.ranges);
}
