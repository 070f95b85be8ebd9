import type { Keys } from '../keys.ts';
import type { Redis } from './connect.ts';
import { readTurns } from './copy-turns.ts';

/** Ids that are listed; more of them are only counted. 10,000 ids take a megabyte. */
export const MAX_LISTED = 10_000;

export interface NotedLosses {
  /** Ids that were not listed before. */
  readonly fresh: number;
  /** Of them, those for which the list had no room. */
  readonly unlisted: number;
}

/**
 * The ids whose L2 copy is newer than their row, each with the turn of the sweep that saw it last. In the queue's Redis,
 * which evicts nothing.
 */
export async function noteLost(
  redis: Redis,
  keys: Keys,
  turn: number,
  ids: readonly string[],
): Promise<NotedLosses> {
  if (ids.length === 0) return { fresh: 0, unlisted: 0 };
  const [listed, scores] = await Promise.all([
    redis.zcard(keys.lostWrites),
    redis.zmscore(keys.lostWrites, ...ids),
  ]);
  const known = ids.filter((_, i) => scores[i] !== null);
  const fresh = ids.filter((_, i) => scores[i] === null);
  const taken = fresh.slice(0, Math.max(0, MAX_LISTED - listed));
  const members = [...known, ...taken].flatMap((id) => [turn, id]);
  if (members.length > 0) await redis.zadd(keys.lostWrites, ...members);
  return { fresh: fresh.length, unlisted: fresh.length - taken.length };
}

/** At most `limit` of the listed ids, by their order in bytes within a turn. */
export async function lostIds(redis: Redis, keys: Keys, limit: number): Promise<string[]> {
  return redis.zrange(keys.lostWrites, '0', String(limit - 1));
}

/** All of them, also those that the list had no room for. */
export async function countLost(redis: Redis, keys: Keys): Promise<number> {
  const [listed, { current, last }] = await Promise.all([
    redis.zcard(keys.lostWrites),
    readTurns(redis, keys),
  ]);
  return listed + Math.max(current?.unlisted ?? 0, last?.unlisted ?? 0);
}

export async function forgetLost(redis: Redis, keys: Keys, ids: readonly string[]): Promise<void> {
  if (ids.length > 0) await redis.zrem(keys.lostWrites, ...ids);
}
