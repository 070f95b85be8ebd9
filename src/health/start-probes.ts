import type { Registry } from 'prom-client';
import { within } from '../abortable.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import { addDeploymentMetrics } from '../metrics/deployment-metrics.ts';
import { addProcessMetrics } from '../metrics/registry.ts';
import { Backends } from '../tiers/backends.ts';
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
  const { metricsPort: port, metricsHost: host, metricsToken: token } = config;
  if (port === undefined) return NO_PROBES;
  const backends = new Backends(config, log, 1);
  const { queue, cache, pool, keys } = backends;
  const readiness = new Readiness({ queue, pool, keys, config, log });
  const server = await backends.opening(async () => {
    const opened = new ProbeServer({ port, host, token }, { readiness, metrics: registry, log });
    await opened.listen();
    return opened;
  });
  addProcessMetrics(registry);
  if (deployment) addDeploymentMetrics(registry, { queue, cache, db: pool, keys, config, log });
  for (const redis of [queue, cache]) redis.connect().catch(() => undefined);
  return {
    running: () => readiness.enter('running'),
    stopping: () => readiness.enter('stopping'),
    async close() {
      await server.close();
      // The service has had its time, and nothing of these connections is waited for.
      await within(config.shutdownMs * CLOSE_SHARE, backends.close()).catch(() => undefined);
    },
  };
}
