import { keysOf } from '../../src/keys.ts';
import { Lanes } from '../../src/lanes.ts';
import type { Redis } from '../../src/redis/client.ts';
import { partitionsInRedis } from '../../src/redis/partitions.ts';

/** The partitions of a deployment, for processes that get only its environment. */
export async function knownLanes(redis: Redis, namespace: string): Promise<Lanes> {
  return new Lanes(namespace, (await partitionsInRedis(redis, keysOf(namespace))) ?? 1);
}
