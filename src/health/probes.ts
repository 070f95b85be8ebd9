import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import { within } from '../abortable.ts';
import type { Config } from '../config.ts';
import { ConfigError, messageOf } from '../errors.ts';
import type { Logger } from '../log.ts';
import { addDeploymentMetrics } from '../metrics/deployment-metrics.ts';
import { addProcessMetrics } from '../metrics/registry.ts';
import { Backends } from '../tiers/backends.ts';
import { BearerToken, createHttpServer } from './http-server.ts';
import { Readiness } from './readiness.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** No credentials are needed. */
    access?: 'public';
  }
}

export interface Probes {
  /** The service is up: `/readyz` may say so. */
  running(): void;
  /** The service is stopping: `/readyz` says so from now on. */
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

/**
 * Serves `/healthz`, `/readyz` and `/metrics` of this process when `metricsPort` is set. They have connections of their own,
 * so that a probe never waits behind work. They start also while backends are away, and say so.
 * @param options `deployment`: also show the figures of the whole deployment; one kind of process should
 * @throws ConfigError when the port cannot be had, or when everybody could read the metrics
 */
export async function startProbes(
  config: Config,
  log: Logger,
  registry: Registry,
  { deployment }: { readonly deployment: boolean },
): Promise<Probes> {
  const { metricsPort: port, metricsHost: host, metricsToken: token } = config;
  if (port === undefined) return NO_PROBES;
  checkToken(host, token);
  const backends = new Backends(config, log, 1);
  const { queue, cache, shards } = backends;
  const lanes = () => backends.lanesForFigures();
  const readiness = new Readiness({ queue, shards, lanes, config, log });
  const server = await backends.opening(async () => {
    const opened = await createProbeServer({ readiness, metrics: registry, log }, token);
    await listen(opened, host, port);
    return opened;
  });
  const address = server.server.address() as AddressInfo;
  log.info({ host: address.address, port: address.port }, 'probes listening');
  addProcessMetrics(registry);
  if (deployment) addDeploymentMetrics(registry, { queue, cache, shards, lanes, config, log });
  backends.connect('queue', 'cache');
  return {
    running: () => readiness.enter('running'),
    stopping: () => readiness.enter('stopping'),
    async close() {
      await server.close();
      // The service has had its time, so these connections are not waited for.
      await within(config.shutdownMs * CLOSE_SHARE, backends.close()).catch(() => undefined);
    },
  };
}

/** A resolver may point a name anywhere, so `localhost` is the only name that counts as loopback. */
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/;

function checkToken(host: string, token: string | undefined): void {
  if (token !== undefined || LOOPBACK.test(host)) return;
  throw new ConfigError(
    `TIERLINE_METRICS_HOST is ${host}: beyond loopback the metrics need a token. Set TIERLINE_METRICS_TOKEN to 16 characters or more.`,
  );
}

async function listen(server: FastifyInstance, host: string, port: number): Promise<void> {
  try {
    await server.listen({ host, port });
  } catch (error) {
    throw new ConfigError(
      `TIERLINE_METRICS_PORT: cannot listen on ${host}:${port}: ${messageOf(error)}. Choose another port.`,
      { cause: error },
    );
  }
}

export interface ProbeSources {
  readonly readiness: Pick<Readiness, 'report'>;
  readonly metrics: Pick<Registry, 'metrics' | 'contentType'>;
}

const REQUEST_TIMEOUT_MS = 5000;
const MAX_CONNECTIONS = 64;

/** @param token what `/metrics` asks for; undefined: everybody may read it */
export async function createProbeServer(
  { log, ...sources }: ProbeSources & { readonly log: Logger },
  token: string | undefined,
  requestTimeoutMs = REQUEST_TIMEOUT_MS,
): Promise<FastifyInstance> {
  const app = await createHttpServer({ requestTimeoutMs, log });
  app.server.maxConnections = MAX_CONNECTIONS;
  const bearer = token === undefined ? undefined : new BearerToken(token);
  app.addHook('onRequest', async (request, reply) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return reply.code(405).header('allow', 'GET, HEAD').send({ error: 'only GET' });
    }
    const { url, config } = request.routeOptions;
    const isOpen = url === undefined || config.access === 'public';
    if (isOpen || bearer === undefined || bearer.matches(request.headers.authorization)) return undefined;
    return reply
      .code(401)
      .header('www-authenticate', 'Bearer realm="metrics"')
      .send({ error: 'needs Authorization: Bearer <TIERLINE_METRICS_TOKEN>' });
  });
  addProbes(app, sources);
  return app;
}

/**
 * `GET /healthz`: 200 while the process answers at all. It asks no backend, so a dead backend restarts nobody.
 * `GET /readyz`: 200 or 503, and the checks. `GET /metrics`: Prometheus text, not public.
 */
export function addProbes(app: FastifyInstance, { readiness, metrics }: ProbeSources): void {
  app.get('/healthz', { config: { access: 'public' } }, () => ({ status: 'alive' }));
  app.get('/readyz', { config: { access: 'public' } }, async (_request, reply) => {
    const report = await readiness.report();
    return reply.code(report.ready ? 200 : 503).send(report);
  });
  app.get('/metrics', async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.metrics()),
  );
}
