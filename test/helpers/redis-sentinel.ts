import { Redis } from 'ioredis';
import { eventually } from './eventually.ts';
import { startRedisServer } from './redis-server.ts';

/** A Redis with a replica, watched by a Sentinel. */
export interface WatchedRedis {
  readonly url: string;
  /** Kills the master, and waits until the replica has taken its place. */
  failOver(): Promise<void>;
  close(): Promise<void>;
}

export async function startWatchedRedis(): Promise<WatchedRedis> {
  const master = await startRedisServer();
  const replica = await startRedisServer({ replicaof: `127.0.0.1 ${master.port}` });
  const client = new Redis(replica.port, '127.0.0.1', { maxRetriesPerRequest: 1 });
  client.on('error', () => undefined);
  const says = async (text: string) => (await client.info('replication')).includes(text);
  await eventually(() => says('master_link_status:up'), 'the replica follows its master');
  const sentinel = await startRedisServer({}, { sentinelOf: master.port });
  const watching = new Redis(sentinel.port, '127.0.0.1');
  await eventually(
    async () => String(await watching.call('SENTINEL', 'replicas', 'main')).includes(String(replica.port)),
    'the Sentinel knows the replica',
  );
  watching.disconnect();
  return {
    url: `redis+sentinel://127.0.0.1:${sentinel.port}/main`,
    async failOver() {
      await master.kill();
      await eventually(() => says('role:master'), 'the replica takes the place of its master');
    },
    async close() {
      client.disconnect();
      for (const server of [sentinel, replica, master]) await server.close();
    },
  };
}
