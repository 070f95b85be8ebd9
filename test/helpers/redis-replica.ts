import { Redis } from 'ioredis';
import { eventually } from './eventually.ts';
import { type RedisServer, startRedisServer } from './redis-server.ts';

/** A replica of the test's own. */
export interface RedisReplica extends RedisServer {
  /** Makes it a primary, with what it has. */
  promote(): Promise<void>;
}

/** Starts a replica of the server at `primaryUrl`; resolves when it has all data. */
export async function startRedisReplica(primaryUrl: string): Promise<RedisReplica> {
  const server = await startRedisServer();
  const command = async <T>(work: (redis: Redis) => Promise<T>): Promise<T> => {
    const redis = new Redis(server.url, { protocol: 2 });
    try {
      return await work(redis);
    } finally {
      redis.disconnect();
    }
  };
  const { hostname, port } = new URL(primaryUrl);
  await command(async (redis) => {
    await redis.replicaof(hostname, port);
    const isSynced = async () => (await redis.info('replication')).includes('master_link_status:up');
    await eventually(isSynced, 'the replica has all data');
  });
  return {
    ...server,
    promote: () => command(async (redis) => void (await redis.replicaof('NO', 'ONE'))),
  };
}
