import { randomBytes } from 'node:crypto';
import { loadConfig } from '../src/config.ts';
import { createLogger } from '../src/log.ts';
import { migrate } from '../src/postgres/migrator.ts';
import { createPool } from '../src/postgres/pool.ts';
import { removeKeys } from '../src/redis/masters.ts';
import { Backends } from '../src/tiers/backends.ts';
import type { Model } from './model.ts';
import type { Report } from './report.ts';

const quiet = createLogger('demo', 'silent');
const CONNECT_MS = 5000;

/**
 * Where the demo writes: a database and a namespace of its own, because exact counts need an empty place, also on servers that
 * others use. Its connections go past the library, to see what is really there.
 */
export type Deployment = Awaited<ReturnType<typeof createDeployment>>;

/** What the stages of the demo work on. */
export interface Scene {
  readonly deployment: Deployment;
  readonly model: Model;
  readonly report: Report;
  /** Ends the demo: somebody pressed Ctrl-C, or a worker ended that nobody asked to. */
  readonly signal: AbortSignal;
}

export async function createDeployment() {
  const namespace = `tierline_demo_${randomBytes(4).toString('hex')}`;
  const { redisUrl, cacheRedisUrl, databaseUrl: serverUrl } = loadConfig({});
  const url = new URL(serverUrl);
  url.pathname = `/${namespace}`;
  const server = createPool(serverUrl, 1, quiet);
  await server.query(`CREATE DATABASE ${namespace}`);
  await migrate(url.href);
  const config = loadConfig({ redisUrl, databaseUrl: url.href, namespace, logLevel: 'silent' });
  const backends = new Backends(config, quiet, 2);
  await backends.ready(CONNECT_MS, 'queue', 'blocking');
  const lanes = await backends.lanes();
  await backends.ready(CONNECT_MS, 'cache');
  const { blocking: queue, cache, pool, keys } = backends;
  const { copies } = await backends.generation.known(CONNECT_MS);
  return {
    config,
    env: {
      REDIS_URL: redisUrl,
      DATABASE_URL: url.href,
      TIERLINE_NAMESPACE: namespace,
      ...(cacheRedisUrl !== undefined && { CACHE_REDIS_URL: cacheRedisUrl }),
    },
    keys,
    lanes,
    queue,
    /** The Redis of the L2 copies. */
    cache,
    /** Keys of the L2 copies that readers use. */
    copies,
    pool,
    /** Removes the database and every key. Workers must have ended. */
    async remove() {
      for (const redis of [queue, cache]) await removeKeys(redis, `*${namespace}*`);
      await backends.close();
      await server.query(`DROP DATABASE ${namespace} WITH (FORCE)`);
      await server.end();
    },
  };
}
