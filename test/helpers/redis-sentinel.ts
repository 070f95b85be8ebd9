import { Redis } from 'ioredis';
import { eventually } from './eventually.ts';
import { startRedisServer } from './redis-server.ts';

/** A Sentinel asks its master for replicas every ten seconds. */
const START_MS = 60_000;

/** A Redis with a replica, watched by a Sentinel. */
export interface WatchedRedis {
  readonly url: string;
  /** Kills the master, and waits until the replica has taken its place. */
  failOver(): Promise<void>;
  close(): Promise<void>;
}

export async function startWatchedRedis(): Promise<WatchedRedis> {
  const closers: (() => unknown)[] = [];
  const close = async () => {
    for (const closer of closers.toReversed()) await closer();
  };
  try {
    const master = await startRedisServer();
    closers.push(() => master.close());
    const replica = await startRedisServer({ replicaof: `127.0.0.1 ${master.port}` });
    closers.push(() => replica.close());
    const client = new Redis(replica.port, '127.0.0.1', { maxRetriesPerRequest: 1 });
    closers.push(() => client.disconnect());
    client.on('error', () => undefined);
    const says = async (text: string) => (await client.info('replication')).includes(text);
    await eventually(() => says('master_link_status:up'), 'the replica follows its master', START_MS);
    const sentinel = await startRedisServer({}, { sentinelOf: master.port });
    closers.push(() => sentinel.close());
    const watching = new Redis(sentinel.port, '127.0.0.1');
    closers.push(() => watching.disconnect());
    await eventually(
      async () => String(await watching.call('SENTINEL', 'replicas', 'main')).includes(String(replica.port)),
      'the Sentinel knows the replica',
      START_MS,
    );
    return {
      url: `redis+sentinel://127.0.0.1:${sentinel.port}/main`,
      async failOver() {
        await master.kill();
        await eventually(() => says('role:master'), 'the replica takes the place of its master', START_MS);
      },
      close,
    };
  } catch (error) {
    // A server that is left would keep the test run from ending.
    await close();
    throw error;
  }
}
