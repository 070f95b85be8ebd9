import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { abortableOpen } from '../abortable.ts';
import { loadConfig, type OpenOptions, type Options } from '../config.ts';
import { ConfigError, messageOf } from '../errors.ts';
import { createLogger } from '../log.ts';
import { createDashboard } from './server.ts';

export interface RunningDashboard extends AsyncDisposable {
  /** `http://127.0.0.1:3000` */
  readonly url: string;
  /** Answers the requests that have come, then ends, within `shutdownMs` also when a backend is away. */
  close(): Promise<void>;
}

/**
 * Serves the dashboard as a server of its own: Tierline's pages, Bull Board at `/queues`, health, readiness and metrics.
 * @throws ConfigError without credentials or when the port cannot be had, QueueUnavailableError, TierUnavailableError,
 *   SchemaMissingError, MerkleKeyError
 */
export async function startDashboard(options: Options = {}): Promise<RunningDashboard> {
  const config = loadConfig(options);
  const log = createLogger('dashboard', config.logLevel);
  const { app, readiness, close } = await createDashboard(config, log);
  const { dashboardHost: host, dashboardPort: port } = config;
  try {
    await app.listen({ host, port });
  } catch (error) {
    await close();
    throw new ConfigError(
      `The dashboard cannot listen on ${host} port ${port}: ${messageOf(error)}. Set TIERLINE_DASHBOARD_HOST or TIERLINE_DASHBOARD_PORT.`,
      { cause: error },
    );
  }
  readiness.enter('running');
  const address = app.server.address() as AddressInfo;
  const url = `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
  log.info({ url }, 'dashboard started');
  return { url, close, [Symbol.asyncDispose]: close };
}

export type DashboardOptions<Request> = OpenOptions & {
  /**
   * Decides whether a request may see the dashboard and press its buttons; only `true` lets it in. With it there is no
   * sign-in page, our password and token count for nothing, and no path is public. Without it our credentials are asked for.
   */
  readonly authenticate?: ((request: Request) => boolean | Promise<boolean>) | undefined;
};

export type MountOptions = DashboardOptions<IncomingMessage> & {
  /** Path of the application below which the dashboard is mounted, `/tierline` for example. @default '' */
  readonly basePath?: string | undefined;
};

/** A dashboard inside an application. */
export interface MountedDashboard extends AsyncDisposable {
  /** For `http.createServer`, and for Express (`app.use(basePath, handler)`). It answers every request it is given. */
  readonly handler: (request: IncomingMessage, response: ServerResponse) => void;
  /** Answers the requests that have come, then closes the connections to Redis and Postgres. */
  close(): Promise<void>;
}

/**
 * Opens the dashboard for an application that mounts it.
 * @throws ConfigError without `authenticate` and without credentials, QueueUnavailableError, TierUnavailableError,
 *   SchemaMissingError, MerkleKeyError
 */
export function openDashboard(options?: MountOptions): Promise<MountedDashboard> {
  return abortableOpen(options, async ({ authenticate, basePath: given = '', ...overrides }) => {
    const config = loadConfig(overrides);
    const basePath = checkBasePath(given);
    if (authenticate !== undefined && typeof authenticate !== 'function') {
      throw new ConfigError('Configuration cannot be used. authenticate: must be a function.');
    }
    const log = createLogger('dashboard', config.logLevel);
    const { app, readiness, close } = await createDashboard(config, log, { basePath, authenticate });
    await app.ready();
    readiness.enter('running');
    const handler = (request: IncomingMessage, response: ServerResponse) => {
      // Express cuts the mount path off `url`. Our routes hold it, so that links and redirects are right.
      if ('originalUrl' in request) request.url = String(request.originalUrl);
      app.routing(request, response);
    };
    return { handler, close, [Symbol.asyncDispose]: close };
  });
}

/**
 * A Fastify plugin: `await app.register(dashboard, { prefix: '/tierline', authenticate })`. It shares nothing with the
 * application but the requests. Hooks of the application run before it; its decorators, parsers and error handlers do not
 * apply to the dashboard.
 * @throws as `openDashboard`
 */
export async function dashboard(
  app: FastifyInstance,
  options: DashboardOptions<FastifyRequest> & { readonly prefix?: string; readonly logSerializers?: unknown },
): Promise<void> {
  const { authenticate, prefix: _prefix, logSerializers: _logSerializers, ...overrides } = options;
  const requests = new WeakMap<IncomingMessage, FastifyRequest>();
  const mounted = await openDashboard({
    ...overrides,
    basePath: app.prefix,
    authenticate: authenticate && ((raw) => authenticate(requests.get(raw) as FastifyRequest)),
  });
  app.addHook('onClose', () => mounted.close());
  // The dashboard reads the bodies itself.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _body, done) => done(null));
  for (const path of ['/', '/*']) {
    app.all(path, (request, reply) => {
      requests.set(request.raw, request);
      reply.hijack();
      mounted.handler(request.raw, reply.raw);
    });
  }
}

/** Without parameters, because links are made from it. */
const pathSchema = z
  .string()
  .transform((path) => path.replace(/\/+$/, ''))
  .pipe(z.string().regex(/^(\/[\w.~-]+)*$/));

function checkBasePath(given: unknown): string {
  const { data } = pathSchema.safeParse(given);
  if (data !== undefined) return data;
  throw new ConfigError(
    'Configuration cannot be used. basePath (the prefix of the plugin): must be a path without parameters, /tierline for example.',
  );
}
