import cookie from '@fastify/cookie';
import formbody from '@fastify/formbody';
import fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import { Readiness } from '../health/readiness.ts';
import { InvalidItemError, TierUnavailableError, messageOf } from '../errors.ts';
import { addDeploymentMetrics, type DeploymentSources } from '../metrics/deployment-metrics.ts';
import { addProcessMetrics, createRegistry } from '../metrics/registry.ts';
import { addActions } from './action-routes.ts';
import { addAssets } from './assets.ts';
import { mountBullBoard } from './bull-board.ts';
import type { CopyCounter } from './copy-counter.ts';
import type { Credentials } from './credentials.ts';
import { addGuard } from './guard.ts';
import { addPages, frameOf, send } from './page-routes.ts';
import { problemPage } from './pages/problem-page.ts';
import { addSecurityHeaders } from './security-headers.ts';
import { Sessions } from './sessions.ts';
import { addSignIn } from './sign-in-routes.ts';
import type { Sources } from './sources.ts';

export interface Dashboard {
  readonly app: FastifyInstance;
  readonly readiness: Readiness;
  /** Every route there is, those of Bull Board included. */
  readonly routes: readonly Route[];
}

export interface Route {
  readonly method: string;
  readonly url: string;
}

/** What a form takes at most. */
const MAX_BODY_BYTES = 64 * 1024;
/** For a whole request to arrive, headers and body: forms are small. Without it a slow sender keeps its connection for minutes. */
const REQUEST_TIMEOUT_MS = 10_000;
/** For a connection on which nothing moves, an answer that nobody reads included; longer than any page takes. */
const IDLE_TIMEOUT_MS = 60_000;

/** The dashboard's HTTP side, not yet listening. The guard comes first, so that no route can be without it. */
export async function createServer(
  sources: Sources,
  credentials: Credentials,
  counter: CopyCounter,
  requestTimeoutMs = REQUEST_TIMEOUT_MS,
): Promise<Dashboard> {
  const { config, log, keys, queue, cache, pool } = sources;
  // No request log: paths carry ids, which may name people.
  const app = fastify({
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: requestTimeoutMs,
    connectionTimeout: IDLE_TIMEOUT_MS,
    // Node looks for late requests every 30 s unless it is told otherwise.
    http: { headersTimeout: requestTimeoutMs, connectionsCheckingInterval: requestTimeoutMs / 4 },
    forceCloseConnections: true,
  });
  const routes: Route[] = [];
  app.addHook('onRoute', ({ method, url }) => {
    routes.push(...[method].flat().map((one) => ({ method: one, url })));
  });
  addSecurityHeaders(app, config.dashboardHttps);
  await app.register(cookie);
  await app.register(formbody);
  const sessions = new Sessions(config.dashboardSessionMs);
  addGuard(app, config, credentials, sessions);
  addProblems(app, sources);

  const readiness = new Readiness({ queue, pool, keys, config, log });
  addProbes(app, readiness);
  addMetrics(app, { queue, cache, db: pool, keys, config, log });
  addAssets(app);
  await addSignIn(app, config, log, credentials, sessions);
  addPages(app, sources, counter);
  addActions(app, sources);
  await mountBullBoard(app, sources);
  return { app, readiness, routes };
}

function addProbes(app: FastifyInstance, readiness: Readiness): void {
  app.get('/healthz', { config: { access: 'public' } }, () => ({ status: 'alive' }));
  app.get('/readyz', { config: { access: 'public' } }, async (_request, reply) => {
    const report = await readiness.report();
    return reply.code(report.ready ? 200 : 503).send(report);
  });
}

function addMetrics(app: FastifyInstance, sources: DeploymentSources): void {
  const registry = createRegistry('dashboard');
  addProcessMetrics(registry);
  addDeploymentMetrics(registry, sources);
  app.get('/metrics', async (_request, reply) =>
    reply.type(registry.contentType).send(await registry.metrics()),
  );
}

/** Answers for what went wrong: a page for people, JSON for programs, and nothing that a stranger could use. */
function addProblems(app: FastifyInstance, sources: Sources): void {
  const answer = (
    request: FastifyRequest,
    reply: FastifyReply,
    status: number,
    title: string,
    why: string,
  ) => {
    reply.code(status);
    return request.headers.accept?.includes('text/html') === true
      ? send(reply, problemPage(frameOf(sources, request), title, why))
      : reply.send({ error: why });
  };

  app.setNotFoundHandler((request, reply) =>
    answer(request, reply, 404, 'Not found', 'There is no such page.'),
  );

  app.setErrorHandler((error: FastifyError, request, reply) => {
    if (error instanceof InvalidItemError)
      return answer(request, reply, 400, 'That cannot be', error.message);
    if (error instanceof TierUnavailableError)
      return answer(request, reply, 503, 'Unavailable', error.message);
    const status = error.statusCode ?? 500;
    if (status === 429) return answer(request, reply, 429, 'Too many attempts', 'Try again in a minute.');
    if (status < 500) return answer(request, reply, status, 'That cannot be', messageOf(error));
    sources.log.error({ err: error, route: request.routeOptions.url }, 'dashboard request failed');
    return answer(request, reply, 500, 'Something went wrong', 'The reason is in the log of the dashboard.');
  });
}
