import { z } from 'zod';
import { pause } from '../abortable.ts';
import { type CopyKeyParts, type CopyKeys, type Keys, parseCopyKey } from '../keys.ts';
import { type Pipeline, type Redis, redisFailure } from './connect.ts';
import { repliesOf, resultsOf } from './commands.ts';

/** Values fetched at once: what one group takes in memory, unless a single value is larger. */
const GROUP_BYTES = 1024 * 1024;

export interface CopyKey extends CopyKeyParts {
  readonly key: string;
}

/** One page of the walk over all L2 copies. */
export interface CopyPage {
  /** Continues the walk; '0' at its end. */
  readonly next: string;
  readonly copies: readonly CopyKey[];
}

/**
 * Keys that are no copies of this namespace are left out, whatever their names begin with.
 * @param slots of Redis's key table that are visited: so many keys of any kind, or a few more
 */
export async function scanCopies(cache: Redis, keys: Keys, cursor: string, slots: number): Promise<CopyPage> {
  const [next, found] = await cache.scan(cursor, 'MATCH', `${escapeGlob(keys.itemPrefix)}*`, 'COUNT', slots);
  const copies = found.flatMap((key) => {
    const parts = parseCopyKey(keys, key);
    return parts === undefined ? [] : [{ key, ...parts }];
  });
  return { next, copies };
}

/** The keys of the copies of `ids` in one generation, whether or not there are any. */
export function copyKeysOf(copies: CopyKeys, ids: readonly string[]): CopyKey[] {
  return ids.map((id) => ({ key: copies.item(id), generation: copies.generation, id }));
}

export interface CopyValue extends CopyKey {
  /** Undefined when the key holds something else than a text. */
  readonly value: string | undefined;
}

/** The values of copies, a bounded number of bytes at a time. What is gone meanwhile is left out. */
export async function* readCopies(cache: Redis, copies: readonly CopyKey[]): AsyncGenerator<CopyValue[]> {
  const sizes = cache.pipeline();
  for (const { key } of copies) sizes.strlen(key);
  const replies = await resultsOf(sizes);
  const foreign: CopyValue[] = [];
  let group: CopyKey[] = [];
  let bytes = 0;
  for (const [i, copy] of copies.entries()) {
    const [error, size] = replies[i] ?? [];
    if (error != null) {
      if (redisFailure(error) !== 'data') throw error;
      foreign.push({ ...copy, value: undefined });
      continue;
    }
    if (Number(size) === 0) continue;
    if (group.length > 0 && bytes + Number(size) > GROUP_BYTES) {
      yield await valuesOf(cache, group);
      group = [];
      bytes = 0;
    }
    group.push(copy);
    bytes += Number(size);
  }
  if (group.length > 0) yield await valuesOf(cache, group);
  if (foreign.length > 0) yield foreign;
}

async function valuesOf(cache: Redis, copies: readonly CopyKey[]): Promise<CopyValue[]> {
  const values = await cache.mget(copies.map(({ key }) => key));
  return copies.flatMap((copy, i) => {
    const value = values[i];
    return value == null ? [] : [{ ...copy, value }];
  });
}

export async function dropKeys(cache: Redis, copies: readonly CopyKey[]): Promise<void> {
  await forEachKey(cache, copies, (pipeline, key) => pipeline.unlink(key));
}

/** Keeps copies until somebody acts: their time to live must not run out. */
export async function keepCopies(cache: Redis, copies: readonly CopyKey[]): Promise<void> {
  await forEachKey(cache, copies, (pipeline, key) => pipeline.persist(key));
}

/** One command a key, for copies of several buckets may lie on several servers. */
async function forEachKey(
  cache: Redis,
  copies: readonly CopyKey[],
  add: (pipeline: Pipeline, key: string) => Pipeline,
): Promise<void> {
  const pipeline = cache.pipeline();
  for (const { key } of copies) add(pipeline, key);
  await repliesOf(pipeline);
}

const SCAN_COUNT = 4000;
/** Pause between two SCANs of 4,000 keys (one to two milliseconds of Redis each), so that counting leaves Redis most of its time. */
const PAUSE_MS = 5;

/**
 * Counts the L2 copies by walking the keys: Redis has no counter of keys with a prefix, and its DBSIZE counts the queue
 * too. Copies of other generations, which nobody reads, are left out. Copies that come or go meanwhile may be missed, so the figure is a close estimate.
 */
export async function countCopies(
  redis: Redis,
  keys: Keys,
  generation: string,
  signal: AbortSignal,
): Promise<number> {
  let count = 0;
  let cursor = '0';
  do {
    signal.throwIfAborted();
    const [next, found] = await redis.scan(
      cursor,
      'MATCH',
      `${escapeGlob(keys.itemPrefix)}*`,
      'COUNT',
      SCAN_COUNT,
    );
    count += found.filter((key) => parseCopyKey(keys, key)?.generation === generation).length;
    cursor = next;
    if (cursor !== '0') await pause(PAUSE_MS, { signal });
  } while (cursor !== '0');
  return count;
}

export function escapeGlob(text: string): string {
  return text.replace(/[\\*?[\]^-]/g, '\\$&');
}

const count = z.int().min(0);

const figuresSchema = z.object({
  /** Copies compared with their rows. */
  checked: count,
  /** Older than their row, and replaced. */
  stale: count,
  /** Not what any write stored, and replaced. */
  corrupt: count,
  /** Of deleted rows, and replaced by the tombstone or dropped. */
  deleted: count,
  /** Of an older generation, and dropped. */
  outdated: count,
  /** Newer than their row while nothing of the id was on its way: Postgres lost a settled write. Kept. */
  lost: count,
  /** Different from their row while a write of the id was on its way: left to the next turn. */
  inFlight: count,
});
/** What a turn of the sweep found. A key that Redis moves during the walk may be counted twice. */
export type CopyFigures = z.output<typeof figuresSchema>;

export const NO_FIGURES: CopyFigures = {
  checked: 0,
  stale: 0,
  corrupt: 0,
  deleted: 0,
  outdated: 0,
  lost: 0,
  inFlight: 0,
};

export const copyTurnSchema = z.object({
  /** 1 for the first turn of a deployment. */
  number: z.int().min(1),
  /** Where SCAN goes on. */
  cursor: z.string(),
  /** Of the copies when the cursor was given: another server would not know it. '' before the first page. */
  generation: z.string(),
  /** Of Redis's key table, those that the walk has visited. */
  slots: count,
  startedMs: z.number(),
  /** Milliseconds of work so far, pauses left out. */
  workedMs: z.number(),
  endedMs: z.number().optional(),
  figures: figuresSchema,
  /** Lost writes for which the list of their ids had no room. */
  unlisted: count,
});
/** One walk over all L2 copies. */
export type CopyTurn = z.output<typeof copyTurnSchema>;

export interface CopyTurns {
  readonly current: CopyTurn | undefined;
  readonly last: CopyTurn | undefined;
}

export async function readTurns(redis: Redis, keys: Keys): Promise<CopyTurns> {
  const [current, last] = await redis.hmget(keys.copyTurns, 'current', 'last');
  return { current: parsed(current), last: parsed(last) };
}

function parsed(text: string | null | undefined): CopyTurn | undefined {
  return text == null ? undefined : copyTurnSchema.parse(JSON.parse(text));
}

export async function saveTurn(redis: Redis, keys: Keys, turn: CopyTurn): Promise<void> {
  await redis.hset(keys.copyTurns, 'current', JSON.stringify(turn));
}

/** The turn is the last one now, and lost writes that it did not see again are no longer lost. */
export async function endTurn(redis: Redis, keys: Keys, turn: CopyTurn): Promise<void> {
  const turns = redis
    .multi()
    .hset(keys.copyTurns, 'last', JSON.stringify(turn))
    .hdel(keys.copyTurns, 'current')
    .zremrangebyscore(keys.lostWrites, '-inf', `(${turn.number}`);
  await repliesOf(turns);
}

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
