import { type Config, loadConfig } from '../src/config.ts';
import { type CopyKeys, type Keys, keysOf } from '../src/keys.ts';
import { createLogger } from '../src/log.ts';
import { createPool, type Pool } from '../src/postgres/pool.ts';
import { CacheGeneration } from '../src/redis/cache-generation.ts';
import { closeRedis, createRedis, type Redis, whenReady } from '../src/redis/connect.ts';
import { QueueWatch } from './queue-watch.ts';
import type { Scratch } from './scratch.ts';

const CONNECT_MS = 5000;

/** Connections past the library, to see what is really there. */
export interface Observer {
  readonly config: Config;
  readonly keys: Keys;
  readonly queue: Redis;
  /** The Redis of the L2 copies. */
  readonly cache: Redis;
  /** Keys of the L2 copies that readers use. */
  readonly copies: CopyKeys;
  readonly pool: Pool;
  readonly watch: QueueWatch;
  close(): Promise<void>;
}

export async function openObserver(scratch: Scratch): Promise<Observer> {
  const config = loadConfig(scratch);
  const log = createLogger('demo', 'silent');
  const keys = keysOf(config.namespace);
  const queue = createRedis(config.redisUrl, 'patient', log);
  const cache = createRedis(config.cacheRedisUrl ?? config.redisUrl, 'failFast', log);
  const generation = new CacheGeneration(cache, queue, keys, config, log);
  const pool = createPool(config.databaseUrl, 2, log);
  const disconnect = async (): Promise<void> => {
    generation.close();
    await Promise.all([closeRedis(queue), closeRedis(cache), pool.end()]);
  };
  try {
    await Promise.all([whenReady(queue, CONNECT_MS), whenReady(cache, CONNECT_MS)]);
    const { copies } = await generation.known(CONNECT_MS);
    const watch = await QueueWatch.open(queue, keys);
    const close = async (): Promise<void> => {
      await watch.close();
      await disconnect();
    };
    return { config, keys, queue, cache, copies, pool, watch, close };
  } catch (error) {
    await disconnect();
    throw error;
  }
}
