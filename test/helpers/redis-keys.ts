import type { Redis, Server } from '../../src/redis/connect.ts';
import { allKeys, isCluster, perKey } from '../../src/redis/masters.ts';

// Tests meddle with keys of any slot, on one server and on a cluster.

/** Every server, replicas too: each has users and settings of its own. */
export function serversOf(redis: Redis): Server[] {
  return isCluster(redis) ? redis.nodes('all') : [redis];
}

/** All keys that match the pattern. */
export async function keysLike(redis: Redis, pattern: string): Promise<string[]> {
  const found = new Set<string>();
  for await (const keys of allKeys(redis, pattern, 1000)) for (const key of keys) found.add(key);
  return [...found];
}

export async function removeEach(redis: Redis, keys: readonly string[]): Promise<void> {
  for (const [error] of await perKey(redis, keys, (pipeline, key) => pipeline.unlink(key))) {
    if (error !== null) throw error;
  }
}

/** How many of the keys exist. */
export async function countExisting(redis: Redis, keys: readonly string[]): Promise<number> {
  const replies = await perKey(redis, keys, (pipeline, key) => pipeline.exists(key));
  let count = 0;
  for (const [error, found] of replies) {
    if (error !== null) throw error;
    count += Number(found);
  }
  return count;
}
