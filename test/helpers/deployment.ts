import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { type Config, loadConfig, type Options } from '../../src/config.ts';
import type { Keys } from '../../src/keys.ts';
import { Lanes } from '../../src/lanes.ts';
import { createLogger, type Logger } from '../../src/log.ts';
import type { Pool } from '../../src/postgres/pool.ts';
import { type Shard, Shards } from '../../src/postgres/shards.ts';
import { CacheGeneration } from '../../src/redis/cache-generation.ts';
import { isCluster } from '../../src/redis/client.ts';
import { closeRedis, whenReady } from '../../src/redis/connect.ts';
import { createRedis, type IoRedis } from '../../src/redis/driver.ts';
import { removeKeys } from '../../src/redis/masters.ts';
import { ItemStore } from '../../src/redis/item-store.ts';
import { markPartitions } from '../../src/redis/partitions.ts';
import { parseRedisAddress } from '../../src/redis-address.ts';
import { shardsOf } from '../../src/shard-list.ts';
import { createDatabases, type Database } from './databases.ts';
import { Turns } from './turns.ts';

/**
 * A deployment of its own on the shared test servers (or on others given by URL): a fresh database with the schema, and a fresh Redis namespace.
 * Names come from randomUUID: test files run in threads that share a process id.
 */
export interface Deployment {
  /** Pass to `openStore` and the others. */
  readonly options: Options & {
    readonly databaseUrl: string;
    readonly redisUrl: string;
    readonly namespace: string;
  };
  readonly config: Config;
  /** Of the deployment and of its first lane. `item`: the key of the L2 copy, in the generation of now. */
  readonly keys: Keys & { item(id: string): string };
  readonly lanes: Lanes;
  readonly log: Logger;
  /** A connection to the queue's Redis for looking and meddling. */
  readonly redis: IoRedis;
  /** The same for the Redis of the L2 copies. */
  readonly cache: IoRedis;
  /** The L2 copies, and which generation of them is in use. */
  readonly items: ItemStore;
  readonly generation: CacheGeneration;
  /** A pool on the database, or on the first shard, for looking and meddling. */
  readonly pool: Pool;
  /** The same for every shard. */
  readonly shards: Shards;
  /** Runs a statement in every database. Gives the rows of all. */
  query<R extends pg.QueryResultRow>(statement: string, values?: readonly unknown[]): Promise<R[]>;
  /** Environment for worker processes of this deployment. */
  readonly env: NodeJS.ProcessEnv;
  /** Deletes every key of the namespace: a Redis that came back without its data. */
  emptyRedis(): Promise<void>;
  close(): Promise<void>;
}

/** For tests that look into the keys of the only lane, or choose batches themselves. */
export const ONE_LANE = { partitions: 1 } as const;

/** On a cluster a process makes so many connections that it cannot start in time beside ten others. */
const PATIENT_PROCESSES = { TIERLINE_ENQUEUE_TIMEOUT_MS: '20000', TIERLINE_L2_TIMEOUT_MS: '5000' };

const CONNECT_MS = 60_000;

/**
 * Tests of a file start together. On a cluster those that open last would run into time limits, because each opens dozens of
 * connections, so only a few deployments exist at a time.
 */
const turns = new Turns(4);

/**
 * With TEST_PARTITIONS=8 the deployment has 8 partitions, unless the test asks for a number itself. With TEST_SHARDS=2 it has two
 * shards, unless the test asks for a number of partitions or for one server.
 * @param extra `shards` and `databaseUrl` name the servers of the databases
 * @param shardNames as many databases, also on one server
 */
export async function createDeployment(
  extra: Options = {},
  shardNames?: readonly string[],
): Promise<Deployment> {
  const partitions = extra.partitions ?? Number(process.env['TEST_PARTITIONS'] ?? 1);
  const { redisUrl, ...servers } = loadConfig({
    redisUrl: extra.redisUrl,
    databaseUrl: extra.databaseUrl,
    shards: extra.shards,
  });
  const endTurn = isClusterUrl(redisUrl) ? await turns.take() : undefined;
  const isOne = extra.shards === undefined && (extra.partitions ?? extra.databaseUrl) !== undefined;
  const asked = shardNames ?? (isOne ? [] : servers.shards.map(({ name }) => name));
  const name = `tierline_${randomUUID().replaceAll('-', '').slice(0, 16)}`;
  const count = Math.max(1, asked.length);
  const layout = {
    partitions,
    shards: asked,
    servers: Array.from(
      { length: count },
      (_, i) => extra.databaseUrl ?? servers.shards[i]?.url ?? servers.databaseUrl,
    ),
  };
  const isOnGivenServers = extra.databaseUrl === undefined && extra.shards === undefined;
  // Servers that somebody else keeps are left as they were.
  const asCopies = isOnGivenServers && process.env['TEST_PRIVATE_POSTGRES'] === '1';
  const databases = await createDatabases(name, layout, asCopies);
  const shardOptions = asked.map((shard, i) => ({ name: shard, url: (databases[i] as Database).url }));
  const { url: databaseUrl } = databases[0] as Database;

  // Tests share their machine: only those about outages want an early refusal, or reads that soon pass a slow Redis by.
  const defaults = { logLevel: 'silent' as const, enqueueTimeoutMs: 20_000, l2TimeoutMs: 5000 };
  const options = { ...defaults, ...extra, redisUrl, databaseUrl, shards: shardOptions, namespace: name };
  const config = loadConfig(options);
  const log = createLogger('test', 'silent');
  const redis = createRedis(redisUrl, 'patient', log);
  const cache = createRedis(config.cacheRedisUrl ?? redisUrl, 'failFast', log);
  // The first attempt may take too long on a busy machine: then the connection tries again.
  await Promise.all([redis, cache].map((connection) => whenReady(connection, CONNECT_MS)));
  const lanes = new Lanes(name, partitions);
  const keys = lanes.keys[0] as Keys;
  const deploymentId = randomUUID();
  await markPartitions(redis, lanes, deploymentId);
  const generation = new CacheGeneration(cache, redis, () => Promise.resolve(lanes), config, log);
  await generation.known(5000);
  const shards = Shards.open(shardsOf(config), 4, log);
  await shards.learn();
  const { pool } = shards.all[0] as Shard;
  return {
    options,
    config,
    keys: {
      ...keys,
      item(id) {
        const copies = generation.session?.copies;
        if (copies === undefined) throw new Error('the generation of the copies is unknown');
        return copies.item(id);
      },
    },
    lanes,
    log,
    redis,
    cache,
    items: new ItemStore(generation),
    generation,
    pool,
    shards,
    env: {
      ...process.env,
      REDIS_URL: redisUrl,
      DATABASE_URL: databaseUrl,
      TIERLINE_SHARDS: shardOptions.map((shard) => `${shard.name}=${shard.url}`).join(),
      TIERLINE_NAMESPACE: name,
      ...(isClusterUrl(redisUrl) && PATIENT_PROCESSES),
      ...(config.cacheRedisUrl !== undefined && { CACHE_REDIS_URL: config.cacheRedisUrl }),
    },
    async query<R extends pg.QueryResultRow>(statement: string, values: readonly unknown[] = []) {
      return (
        await shards.each(async (shard) => (await shard.pool.query<R>(statement, [...values])).rows)
      ).flat();
    },
    async emptyRedis() {
      await removeNamespace(redis, name);
      if (partitions > 1) await markPartitions(redis, lanes, deploymentId);
      await generation.confirm();
      await generation.known(5000);
    },
    async close() {
      generation.close();
      // A test may have ended a Redis of its own.
      await removeNamespace(cache, name).catch(() => undefined);
      await closeRedis(cache);
      const removing = removeNamespace(redis, name);
      // The cluster may still name a master that a test has killed.
      await (isCluster(redis) ? removing.catch(() => undefined) : removing);
      await closeRedis(redis);
      // A test may have ended a server of its own.
      await shards.close().catch(() => undefined);
      await Promise.all(databases.map((database) => database.drop()));
      endTurn?.();
    },
  };
}

function isClusterUrl(redisUrl: string): boolean {
  return parseRedisAddress(redisUrl).kind === 'cluster';
}

async function removeNamespace(redis: IoRedis, namespace: string): Promise<void> {
  for (const pattern of [`{${namespace}}:*`, `{${namespace}.*}:*`, `${namespace}:*`]) {
    await removeKeys(redis, pattern);
  }
}
