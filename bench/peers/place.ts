import type { Config } from '../../src/config.ts';

/** Where a peer queues, and where its writes go: rows and copies of its own, so that those of all peers grow alike. */
export interface Place {
  /** Of the queue, as of all keys and tables of the peer. */
  readonly name: string;
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly cacheRedisUrl: string;
  /** Before every key of Redis. */
  readonly namespace: string;
  readonly table: string;
}

export function placeOf(name: string, config: Config): Place {
  const { databaseUrl, redisUrl, cacheRedisUrl = redisUrl, namespace } = config;
  return { name, databaseUrl, redisUrl, cacheRedisUrl, namespace, table: `peer_${name}` };
}
