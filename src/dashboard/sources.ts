import { Queue } from 'bullmq';
import type { Config } from '../config.ts';
import { messageOf, QueueUnavailableError, TierlineError } from '../errors.ts';
import { type Keys, keysOf, MAINTENANCE_QUEUE, RANGES_QUEUE, WRITES_QUEUE } from '../keys.ts';
import type { Logger } from '../log.ts';
import { checkGivenMerkleKey } from '../postgres/merkle-key.ts';
import { closePool, createPool, type Pool } from '../postgres/pool.ts';
import { checkPostgres } from '../postgres/server.ts';
import { CacheGeneration } from '../redis/cache-generation.ts';
import { closeRedis, createRedis, type Redis, whenReady } from '../redis/connect.ts';
import { ItemStore } from '../redis/item-store.ts';

/** What the pages are made from. */
export interface Sources {
  readonly config: Config;
  readonly log: Logger;
  readonly keys: Keys;
  /** `failFast` connections: a page tells what is away instead of waiting for it. */
  readonly queue: Redis;
  readonly cache: Redis;
  readonly generation: CacheGeneration;
  readonly items: ItemStore;
  readonly pool: Pool;
  readonly writes: Queue;
  readonly ranges: Queue;
  readonly maintenance: Queue;
}

const START_TIMEOUT_MS = 5000;
const POOL_SIZE = 4;

/** @throws QueueUnavailableError, TierUnavailableError, SchemaMissingError, MerkleKeyError */
export async function openSources(
  config: Config,
  log: Logger,
): Promise<{ sources: Sources; close: () => Promise<void> }> {
  const keys = keysOf(config.namespace);
  const queue = createRedis(config.redisUrl, 'failFast', log);
  const cache = createRedis(config.cacheRedisUrl ?? config.redisUrl, 'failFast', log);
  const generation = new CacheGeneration(cache, queue, keys, config, log);
  const pool = createPool(config.databaseUrl, POOL_SIZE, log);
  const queues: Queue[] = [];
  const open = (name: string): Queue => {
    const opened = new Queue(name, {
      connection: queue,
      prefix: keys.queuePrefix,
      streams: { events: { maxLen: 100 } },
    });
    opened.on('error', (error) => log.debug({ err: error }, 'queue connection error'));
    queues.push(opened);
    return opened;
  };
  async function close(): Promise<void> {
    await Promise.all(queues.map((opened) => opened.close()));
    generation.close();
    await Promise.all([closeRedis(queue), closeRedis(cache), closePool(pool)]);
  }
  try {
    await Promise.all([whenReady(queue, START_TIMEOUT_MS), whenReady(cache, START_TIMEOUT_MS)]);
    await Promise.all([generation.known(START_TIMEOUT_MS), checkPostgres(pool)]);
    await checkGivenMerkleKey(pool, config.merkleKey);
    const sources = {
      config,
      log,
      keys,
      queue,
      cache,
      generation,
      items: new ItemStore(cache, generation),
      pool,
      writes: open(WRITES_QUEUE),
      ranges: open(RANGES_QUEUE),
      maintenance: open(MAINTENANCE_QUEUE),
    };
    await Promise.all(queues.map((opened) => opened.waitUntilReady()));
    return { sources, close };
  } catch (error) {
    await close();
    if (error instanceof TierlineError) throw error;
    throw new QueueUnavailableError(
      `Redis cannot be reached: ${messageOf(error)}. Check REDIS_URL and start again.`,
      { cause: error },
    );
  }
}
