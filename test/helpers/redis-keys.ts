import { Cluster, type Redis as Server } from 'ioredis';
import type { Redis } from '../../src/redis/client.ts';
import type { IoRedis } from '../../src/redis/driver.ts';
import { allKeys, perKey } from '../../src/redis/masters.ts';

// Tests meddle with keys of any slot, on one server and on a cluster.

/** Every server, replicas too: each has users and settings of its own. */
export function serversOf(redis: IoRedis): Server[] {
  return redis instanceof Cluster ? redis.nodes('all') : [redis];
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
  const found = await Promise.all(keys.map((key) => redis.exists(key)));
  return found.reduce((sum, one) => sum + one, 0);
}
