import { createRequire } from 'node:module';
import type { IncomingMessage } from 'node:http';
import { dirname } from 'node:path';
import { type ParsedUrlQueryInput, stringify } from 'node:querystring';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import formbody from '@fastify/formbody';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance, FastifyReply, FastifyRequest, RequestPayload } from 'fastify';
import type { Config } from '../config.ts';
import { createHttpServer, type TellProblem } from '../health/http-server.ts';
import { addProbes } from '../health/probes.ts';
import { Readiness } from '../health/readiness.ts';
import type { Logger } from '../log.ts';
import { addDeploymentMetrics } from '../metrics/deployment-metrics.ts';
import { addProcessMetrics, createRegistry } from '../metrics/registry.ts';
import { StopPhases } from '../stop-phases.ts';
import { mountBullBoard } from './bull-board.ts';
import { Credentials } from './credentials.ts';
import { type Authenticate, addGuard } from './guard.ts';
import { type FrameOf, frames, problemPage, send } from './layout.ts';
import { CopyCounter } from './overview-figures.ts';
import { PeerChecks } from './requested-jobs.ts';
import { addActions, addPages } from './routes.ts';
import { addSignIn } from './sign-in.ts';
import { openSources, type Sources } from './sources.ts';

export interface Dashboard {
  /** Does not listen yet. */
  readonly app: FastifyInstance;
  readonly readiness: Readiness;
  /** Every route there is, those of Bull Board included. */
  readonly routes: readonly { readonly method: string; readonly url: string }[];
  /** Answers the requests that have come, then ends, within `shutdownMs` also when a backend is away. */
  readonly close: () => Promise<void>;
}

export interface DashboardServerOptions {
  /** Begins the path of every page: `/tierline`, or nothing. */
  readonly basePath?: string;
  /** Decides in place of our own credentials. */
  readonly authenticate?: Authenticate | undefined;
  /** For a whole request to arrive. Forms are small, and a slow sender would keep its connection for minutes. @default 10000 */
  readonly requestTimeoutMs?: number;
}

/** @throws ConfigError without credentials, QueueUnavailableError, TierUnavailableError, SchemaMissingError, MerkleKeyError */
export async function createDashboard(
  config: Config,
  log: Logger,
  { basePath = '', authenticate, requestTimeoutMs = 10_000 }: DashboardServerOptions = {},
): Promise<Dashboard> {
  const access = authenticate ?? new Credentials(config);
  const frame = frames(config, basePath, authenticate === undefined);
  const { sources, close: closeSources } = await openSources(config, log);
  const { queue, shards } = sources;
  const lanes = () => Promise.resolve(sources.lanes);
  const counter = new CopyCounter(sources);
  const readiness = new Readiness({ queue, shards, lanes, config, log });
  const tell = tellWith(frame);
  const app = await createHttpServer({ requestTimeoutMs, https: config.dashboardHttps, log, tell });
  const routes: { method: string; url: string }[] = [];
  app.addHook('onRoute', ({ method, url }) => {
    routes.push(...[method].flat().map((one) => ({ method: one, url })));
  });
  app.addHook('preParsing', giveFormAgain);
  await app.register(formbody);
  // The guard comes first, so that no route can be without it.
  await addGuard(app, sources, access, basePath);
  await app.register(
    async (scope) => {
      addProbes(scope, { readiness, metrics: metricsOf(sources) });
      await addAssets(scope);
      if (access instanceof Credentials) await addSignIn(scope, sources, access, basePath);
      addPages(scope, sources, counter, new PeerChecks(config), frame);
      addActions(scope, sources, basePath, frame);
      await mountBullBoard(scope, sources, basePath);
    },
    { prefix: basePath },
  );

  let closing: Promise<void> | undefined;
  async function stop(): Promise<void> {
    readiness.enter('stopping');
    const phases = new StopPhases(config.shutdownMs);
    await phases.within(
      'work',
      app.close().then(() => counter.close()),
    );
    await phases.within('connections', closeSources());
    log.info('dashboard stopped');
  }
  return { app, readiness, routes, close: () => (closing ??= stop()) };
}

/** When a body parser of the application has read the form already, our parser gets its fields as a new body. */
function giveFormAgain(
  request: FastifyRequest,
  _reply: FastifyReply,
  payload: RequestPayload,
  done: (error: null, payload: RequestPayload) => void,
): void {
  const { readableEnded, body } = request.raw as IncomingMessage & { readonly body?: unknown };
  if (!readableEnded || typeof body !== 'object' || body === null) return done(null, payload);
  const form: RequestPayload = Readable.from([Buffer.from(stringify(body as ParsedUrlQueryInput))]);
  // Fastify compares this length with the header.
  form.receivedEncodedLength = Number(request.headers['content-length']);
  done(null, form);
}

/** A page for people, JSON for programs. */
function tellWith(frame: FrameOf): TellProblem {
  return (request, reply, { status, title, why }) => {
    // Only @fastify/csrf-protection fails with 403. Its message is about tokens, which says nothing to people.
    const text = status === 403 ? 'The form has expired or came from elsewhere. Open the page again.' : why;
    reply.code(status);
    return request.headers.accept?.includes('text/html') === true
      ? send(reply, problemPage(frame(request, reply), title, text))
      : reply.send({ error: text });
  };
}

function metricsOf({ queue, cache, shards, lanes: known, config, log }: Sources) {
  const lanes = () => Promise.resolve(known);
  const registry = createRegistry('dashboard');
  addProcessMetrics(registry);
  addDeploymentMetrics(registry, { queue, cache, shards, lanes, config, log });
  return registry;
}

const OWN = fileURLToPath(new URL('./assets', import.meta.url));
const UPLOT = dirname(createRequire(import.meta.url).resolve('uplot/dist/uPlot.esm.js'));

/** `isPublic`: the sign-in page needs it. */
const ASSETS = [
  { name: 'style.css', folder: OWN, file: 'style.css', isPublic: true },
  { name: 'icon.svg', folder: OWN, file: 'icon.svg', isPublic: true },
  { name: 'live.js', folder: OWN, file: 'live.js', isPublic: false },
  { name: 'plots.js', folder: OWN, file: 'plots.js', isPublic: false },
  { name: 'uplot.js', folder: UPLOT, file: 'uPlot.esm.js', isPublic: false },
  { name: 'uplot.css', folder: UPLOT, file: 'uPlot.min.css', isPublic: false },
] as const;

/** They have a scope of their own because Bull Board registers @fastify/static too. */
async function addAssets(app: FastifyInstance): Promise<void> {
  await app.register(async (scope) => {
    await scope.register(fastifyStatic, { root: OWN, serve: false, cacheControl: false });
    for (const { name, folder, file, isPublic } of ASSETS) {
      scope.get(`/assets/${name}`, { config: isPublic ? { access: 'public' } : {} }, (_request, reply) => {
        // A browser asks again with each page, and gets the body only after an update.
        reply.header('cache-control', 'private, no-cache');
        return reply.sendFile(file, folder);
      });
    }
  });
}
