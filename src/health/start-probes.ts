import type { Registry } from 'prom-client';
import { within } from '../abortable.ts';
import type { Config } from '../config.ts';
import { keysOf } from '../keys.ts';
import type { Logger } from '../log.ts';
import { addDeploymentMetrics } from '../metrics/deployment-metrics.ts';
import { addProcessMetrics } from '../metrics/registry.ts';
import { closePool, createPool } from '../postgres/pool.ts';
import { closeRedis, createRedis } from '../redis/connect.ts';
import { ProbeServer } from './probe-server.ts';
import { Readiness } from './readiness.ts';

export interface Probes {
  /** The service is up: `/readyz` may say so. */
  running(): void;
  /** The service is going: `/readyz` says so from now on. */
  stopping(): void;
  close(): Promise<void>;
}

const NO_PROBES: Probes = {
  running: () => undefined,
  stopping: () => undefined,
  close: () => Promise.resolve(),
};

/** Share of `shutdownMs` that closing their connections may take. */
const CLOSE_SHARE = 0.1;

export interface ProbesOptions {
  /** Also show the figures of the whole deployment; one kind of process should. */
  readonly deployment: boolean;
}

/**
 * Serves `/healthz`, `/readyz` and `/metrics` of this process when `metricsPort` is set, on connections of its own, so
 * that a probe never waits behind work. Backends that are away do not keep it from starting: telling so is its task.
 * @throws ConfigError
 */
export async function startProbes(
  config: Config,
  log: Logger,
  registry: Registry,
  { deployment }: ProbesOptions,
): Promise<Probes> {
  if (config.metricsPort === undefined) return NO_PROBES;
  const keys = keysOf(config.namespace);
  const queue = createRedis(config.redisUrl, 'failFast', log);
  const cache = createRedis(config.cacheRedisUrl ?? config.redisUrl, 'failFast', log);
  const pool = createPool(config.databaseUrl, 1, log);
  const release = async () => {
    await Promise.all([closeRedis(queue), closeRedis(cache), closePool(pool)]);
  };
  const readiness = new Readiness({ queue, pool, keys, config, log });
  let server: ProbeServer;
  try {
    server = new ProbeServer(
      { port: config.metricsPort, host: config.metricsHost, token: config.metricsToken },
      { readiness, metrics: registry, log },
    );
    await server.listen();
  } catch (error) {
    await release();
    throw error;
  }
  addProcessMetrics(registry);
  if (deployment) addDeploymentMetrics(registry, { queue, cache, db: pool, keys, config, log });
  for (const redis of [queue, cache]) redis.connect().catch(() => undefined);
  return {
    running: () => readiness.enter('running'),
    stopping: () => readiness.enter('stopping'),
    async close() {
      await server.close();
      // The service has had its time, and nothing of these connections is waited for.
      await within(config.shutdownMs * CLOSE_SHARE, release()).catch(() => undefined);
    },
  };
}
