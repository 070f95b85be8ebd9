import { z } from 'zod';
import { pause } from '../abortable.ts';
import { type CopyKeyParts, type CopyKeys, type Keys, parseCopyKey } from '../keys.ts';
import type { Redis } from './client.ts';
import { repliesOf, type Reply } from './commands.ts';
import { redisFailure } from './connect.ts';
import { getAll, mastersOf, perKey, type ScanCursor, scanKeys } from './masters.ts';

/** Bytes of the values that are fetched at once. A larger value is fetched alone. */
const GROUP_BYTES = 1024 * 1024;

export interface CopyKey extends CopyKeyParts {
  readonly key: string;
}

/** One page of the walk over all L2 copies. */
export interface CopyPage {
  /** Continues the walk; '0' at its end. */
  readonly next: ScanCursor;
  readonly copies: readonly CopyKey[];
}

/**
 * Leaves out keys that are no copies of this namespace.
 * @param slots of Redis's key table to visit: about that many keys of any kind
 */
export async function scanCopies(
  cache: Redis,
  keys: Keys,
  cursor: ScanCursor,
  slots: number,
): Promise<CopyPage> {
  const { next, found } = await scanKeys(cache, cursor, `${escapeGlob(keys.itemPrefix)}*`, slots);
  const copies = found.flatMap((key) => {
    const parts = parseCopyKey(keys, key);
    return parts === undefined ? [] : [{ key, ...parts }];
  });
  return { next, copies };
}

/** Slots of the servers' key tables, each a power of two. After many deletes they have more than this. */
export async function keySlots(redis: Redis): Promise<number> {
  const sizes = await Promise.all(mastersOf(redis).map((server) => server.dbsize()));
  return sizes.reduce((sum, keys) => sum + 2 ** Math.ceil(Math.log2(Math.max(1, keys))), 0);
}

/** The keys that the copies of `ids` have in one generation, if there are copies. */
export function copyKeysOf(copies: CopyKeys, ids: readonly string[]): CopyKey[] {
  return ids.map((id) => ({ key: copies.item(id), generation: copies.generationOf(id), id }));
}

export interface CopyValue extends CopyKey {
  /** Undefined when the key holds another type than a string. */
  readonly value: string | undefined;
}

/** The values of copies, a bounded number of bytes at a time. Copies that are gone meanwhile are left out. */
export async function* readCopies(cache: Redis, copies: readonly CopyKey[]): AsyncGenerator<CopyValue[]> {
  const names = copies.map(({ key }) => key);
  const replies = await perKey(cache, names, (pipeline, key) => pipeline.strlen(key));
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
  const values = await getAll(
    cache,
    copies.map(({ key }) => key),
  );
  return copies.flatMap((copy, i) => {
    const value = values[i];
    return value == null ? [] : [{ ...copy, value }];
  });
}

export async function dropKeys(cache: Redis, copies: readonly CopyKey[]): Promise<void> {
  const names = copies.map(({ key }) => key);
  throwFirst(await perKey(cache, names, (pipeline, key) => pipeline.unlink(key)));
}

/** Takes the copies' time to live away, so that they stay until somebody acts. */
export async function keepCopies(cache: Redis, copies: readonly CopyKey[]): Promise<void> {
  const names = copies.map(({ key }) => key);
  throwFirst(await perKey(cache, names, (pipeline, key) => pipeline.persist(key)));
}

function throwFirst(replies: readonly Reply[]): void {
  for (const [error] of replies) if (error !== null) throw error;
}

const SCAN_COUNT = 4000;
/** Pause between two SCANs. Each takes Redis one to two milliseconds, so most of its time is left to others. */
const PAUSE_MS = 5;

/**
 * Counts the L2 copies that readers use by walking the keys: Redis cannot count keys with a prefix, and DBSIZE counts the
 * queue too. Copies that come or go meanwhile may be missed, so the figure is a close estimate.
 */
export async function countCopies(
  redis: Redis,
  keys: Keys,
  current: CopyKeys,
  signal: AbortSignal,
): Promise<number> {
  let count = 0;
  let cursor = '0';
  do {
    signal.throwIfAborted();
    const { next, copies } = await scanCopies(redis, keys, cursor, SCAN_COUNT);
    count += copies.filter(({ generation, id }) => generation === current.generationOf(id)).length;
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
  /** Unreadable or not matching their hash, and replaced. */
  corrupt: count,
  /** Of deleted rows, and replaced by the tombstone or dropped. */
  deleted: count,
  /** Of an older generation, and dropped. */
  outdated: count,
  /** Newer than their row while no write of the id was pending: Postgres lost a settled write. They are kept. */
  lost: count,
  /** Different from their row while a write of the id was pending: left to the next turn. */
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
  /** The cursor with which SCAN goes on. */
  cursor: z.string(),
  /** Generation of the copies when the cursor was given; another server does not know the cursor. '' before the first page. */
  generation: z.string(),
  /** Slots of Redis's key table that were visited. */
  slots: count,
  startedMs: z.number(),
  /** Milliseconds of work so far, pauses left out. */
  workedMs: z.number(),
  endedMs: z.number().optional(),
  figures: figuresSchema,
  /** Lost writes whose ids found no room in the list. */
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

/** Makes the turn the last one. Lost writes that it did not see again are no longer listed. */
export async function endTurn(redis: Redis, keys: Keys, turn: CopyTurn): Promise<void> {
  const turns = redis
    .multi()
    .hset(keys.copyTurns, 'last', JSON.stringify(turn))
    .hdel(keys.copyTurns, 'current')
    .zremrangebyscore(keys.lostWrites, '-inf', `(${turn.number}`);
  await repliesOf(turns);
}

/** How many ids are listed; further ones are only counted. 10,000 ids take a megabyte. */
export const MAX_LISTED = 10_000;

export interface NotedLosses {
  /** Ids that were not listed before. */
  readonly fresh: number;
  /** Of them, those for which the list had no room. */
  readonly unlisted: number;
}

/**
 * Lists ids whose L2 copy is newer than their row, each with the turn of the sweep that saw it last. The list is in the
 * queue's Redis, which evicts nothing.
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

/** Counts the listed ids and those that found no room in the list. */
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
