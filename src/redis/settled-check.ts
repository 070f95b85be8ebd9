import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { Stamp } from '../clock.ts';
import type { Keys } from '../keys.ts';

/** A version of an id that was seen in Postgres. */
export interface SeenVersion {
  readonly id: string;
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
}

export interface SettledAnswer {
  /** Every write with a stamp below it has settled, from now on; 0 when Redis has given out no stamp. */
  readonly horizon: Stamp;
  /** For each version that was asked about, whether it has settled. */
  readonly settled: readonly boolean[];
}

const pairsReply = z.array(z.string());
const reply = z.tuple([
  z.coerce.number().nullable(),
  pairsReply,
  pairsReply,
  z.array(z.string().nullable()).optional(),
]);

/**
 * Which of these versions have settled: every tier has them, and the feed has announced them.
 *
 * A version that Postgres shows was queued before, and its chunk stands in `inflight` and its id in `pending` until it settles. So
 * it has settled when it lies below the oldest chunk in flight, or when its id is not pending. A range delete notes no
 * ids: a row that carries the stamp of one in flight has not settled.
 * @param redis of the queue. One round trip, about 1 µs of Redis a version.
 */
export async function settledCheck(
  redis: Redis,
  keys: Keys,
  seen: readonly SeenVersion[],
): Promise<SettledAnswer> {
  const commands = redis
    .multi()
    .hget(keys.clock, 'last')
    .zrange(keys.inflight, '0', '0', 'WITHSCORES')
    .zrange(keys.ranges, '0', '-1', 'WITHSCORES');
  if (seen.length > 0) commands.hmget(keys.pending, ...seen.map(({ id }) => id));
  const [last, [, oldest], ranges, pending = []] = reply.parse(
    (await commands.exec())?.map(([error, value]) => {
      if (error !== null) throw error;
      return value;
    }),
  );
  // The next stamp is above the last one.
  const horizon = oldest === undefined ? (last === null ? 0 : last + 1) : Number(oldest);
  const rangeStamps = new Set(ranges.filter((_, i) => i % 2 === 1).map(Number));
  const settled = seen.map(({ contentVersion, stateVersion }, i) => {
    if (contentVersion < horizon && stateVersion < horizon) return true;
    return pending[i] === null && !rangeStamps.has(contentVersion) && !rangeStamps.has(stateVersion);
  });
  return { horizon, settled };
}
