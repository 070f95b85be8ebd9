import { loadConfig, type Config, type Options } from '../config.ts';
import { messageOf, TierlineError, TierUnavailableError } from '../errors.ts';
import { keysOf } from '../keys.ts';
import { createLogger, type Logger } from '../log.ts';
import { checkPostgres, createPool } from '../postgres/pool.ts';
import { closeRedis, createRedis, whenReady } from '../redis/connect.ts';
import { ItemStore } from '../redis/item-store.ts';
import { PostgresTier } from '../tiers/postgres.ts';
import { RedisTier } from '../tiers/redis.ts';
import type { Reader } from '../types.ts';
import { TierLookup } from './lookup.ts';
import { MerkleView } from './merkle-view.ts';
import type { PendingView } from './pending-view.ts';
import { TieredReader } from './tiered-reader.ts';

const START_TIMEOUT_MS = 2000;
const NOTHING_PENDING: PendingView = { get: () => undefined };

/**
 * Opens the read side: Redis and Postgres, for any service.
 * @throws ConfigError, TierUnavailableError, UnsafeServerError, SchemaMissingError
 */
export async function openReader(options: Options = {}): Promise<Reader> {
  const config = loadConfig(options);
  return connectReader(config, createLogger('reader', config.logLevel));
}

/** As `openReader`, for a process whose own writes shall be seen before they settle. */
export async function connectReader(
  config: Config,
  log: Logger,
  pending: PendingView = NOTHING_PENDING,
): Promise<TieredReader> {
  const keys = keysOf(config.namespace);
  const queue = createRedis(config.redisUrl, 'failFast', log);
  const cache = createRedis(config.cacheRedisUrl ?? config.redisUrl, 'failFast', log);
  const pool = createPool(config.databaseUrl, config.poolSize, log);
  const release = async () => {
    await Promise.all([closeRedis(queue), closeRedis(cache), pool.end()]);
  };
  try {
    await Promise.all([whenReady(queue, START_TIMEOUT_MS), whenReady(cache, START_TIMEOUT_MS)]);
    await checkPostgres(pool);
  } catch (error) {
    await release();
    if (error instanceof TierlineError) throw error;
    throw new TierUnavailableError('l2', messageOf(error));
  }
  const l2 = new RedisTier(new ItemStore(cache, keys), config.backfillTtlMs, log);
  const l3 = new PostgresTier(pool);
  const lookup = new TierLookup(l2, l3, config, log);
  return new TieredReader({ queue, keys, l2, l3, lookup, merkle: new MerkleView(pool), pending, release });
}
