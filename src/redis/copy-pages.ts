import type { ChainableCommander } from 'ioredis';
import { escapeGlob } from './copy-count.ts';
import { type CopyKeyParts, type CopyKeys, type Keys, parseCopyKey } from '../keys.ts';
import type { Redis } from './connect.ts';
import { redisFailure } from './failure.ts';

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
  const replies = (await sizes.exec()) ?? [];
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
  add: (pipeline: ChainableCommander, key: string) => ChainableCommander,
): Promise<void> {
  const pipeline = cache.pipeline();
  for (const { key } of copies) add(pipeline, key);
  for (const [error] of (await pipeline.exec()) ?? []) if (error !== null) throw error;
}
