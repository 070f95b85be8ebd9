import type { IncomingMessage } from 'node:http';
import { randomUUID } from 'node:crypto';
import csrfProtection from '@fastify/csrf-protection';
import secureSession, { type Session } from '@fastify/secure-session';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { within } from '../abortable.ts';
import type { Config } from '../config.ts';
import { messageOf } from '../errors.ts';
import { shardsOf } from '../shard-list.ts';
import type { Sources } from './sources.ts';
import { type Credentials, deriveSessionKey } from './credentials.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Allowed in read-only mode although it is no read. */
    harmless?: true;
  }
  interface FastifyRequest {
    /** Who was let in; undefined on public routes for somebody without credentials. */
    visitor: 'browser' | 'program' | undefined;
  }
}

/** Decides about a request in place of the sign-in page and the token. */
export type Authenticate = (request: IncomingMessage) => boolean | Promise<boolean>;

/** Our own credentials, or the decision of the application that mounts the dashboard. */
export type Access = Credentials | Authenticate;

const SAFE_METHODS = new Set(['GET', 'HEAD']);

/**
 * Stands before every route, also before those of Bull Board and before those that do not exist:
 *
 *   who     our session's cookie or the bearer token, unless the route is public; else 401, or the sign-in page for a
 *           browser. When the application decides, no route is public.
 *   where   a request that changes something comes from one of our pages (`Sec-Fetch-Site`, `Origin`); else 403
 *   what    it carries the token of its session, in the field `csrf` or the header `x-csrf-token`; else 403. A request with
 *           the bearer token needs neither, because no browser sends that by itself.
 *   mode    in read-only mode it is refused with 403
 */
export async function addGuard(
  app: FastifyInstance,
  sources: Sources,
  access: Access,
  basePath: string,
): Promise<void> {
  const { config } = sources;
  await addSessions(app, config, access);
  app.decorateRequest('visitor', undefined);

  app.addHook('onRequest', async (request, reply) => {
    request.visitor = await visitorOf(request, sources, access);
    const isPublic = request.routeOptions.config.access === 'public' && typeof access !== 'function';
    if (request.visitor === undefined && !isPublic) return refuse(request, reply, access, basePath);
    if (SAFE_METHODS.has(request.method)) return undefined;
    if (config.dashboardReadOnly && request.routeOptions.config.harmless !== true) {
      return forbid(reply, 'The dashboard is read-only (TIERLINE_DASHBOARD_READ_ONLY).');
    }
    if (request.visitor !== 'program' && !isOwnPage(request)) {
      return forbid(reply, 'The request came from another site.');
    }
    return undefined;
  });

  // After the body is read: a form carries the token as a field.
  app.addHook('preHandler', (request, reply, done) => {
    if (SAFE_METHODS.has(request.method) || request.visitor !== 'browser') done();
    else app.csrfProtection(request, reply, done);
  });
}

/**
 * Sessions are encrypted cookies: nothing is stored, and every dashboard with the same credentials reads them. When the
 * application decides who may enter, the cookie holds the secret of the forms alone.
 */
async function addSessions(app: FastifyInstance, config: Config, access: Access): Promise<void> {
  const { namespace, dashboardHttps: secure, dashboardSessionMs } = config;
  const lifeSeconds = Math.floor(dashboardSessionMs / 1000);
  // Whoever knows the databases with their passwords may do all that a page may.
  const databases = shardsOf(config).map(({ url }) => url);
  const key =
    typeof access === 'function' ? deriveSessionKey(databases.join('\n'), namespace) : access.sessionKey;
  await app.register(secureSession, {
    key,
    expiry: lifeSeconds,
    // Browsers accept a `__Host-` cookie only from this host itself, and only over https.
    cookieName: `${secure ? '__Host-' : ''}tierline-${namespace}`,
    cookie: { path: '/', httpOnly: true, sameSite: 'strict', secure, maxAge: lifeSeconds },
  });
  await app.register(csrfProtection, { sessionPlugin: '@fastify/secure-session', getToken: tokenOf });
}

async function visitorOf(
  request: FastifyRequest,
  sources: Sources,
  access: Access,
): Promise<FastifyRequest['visitor']> {
  if (typeof access === 'function') {
    // An application in plain JavaScript may answer anything: only true lets in.
    const allowed: unknown = await access(request.raw);
    return allowed === true ? 'browser' : undefined;
  }
  const { authorization } = request.headers;
  if (isBearer(authorization)) return access.acceptsHeader(authorization) ? 'program' : undefined;
  const id = sessionOf(request).get('id');
  return id !== undefined && !(await hasSignedOut(sources, id)) ? 'browser' : undefined;
}

/** `id` is set by a sign-in: without one the session holds the secret of the forms alone. */
function sessionOf(request: FastifyRequest): Session<{ readonly id?: string }> {
  return request.session;
}

/** Starts a new session, so that a cookie from before the sign-in is worth nothing. */
export function beginSession(request: FastifyRequest, reply: FastifyReply): void {
  request.session.regenerate();
  sessionOf(request).set('id', randomUUID());
  reply.generateCsrf();
}

const ANSWER_MS = 500;

/** Ends the session on every dashboard: its cookie may have been copied. */
export async function endSession(
  request: FastifyRequest,
  { queue, keys, config, log }: Sources,
): Promise<void> {
  const id = sessionOf(request).get('id');
  request.session.delete();
  if (id === undefined) return;
  try {
    await within(ANSWER_MS, queue.set(keys.signedOut(id), 1, 'PX', config.dashboardSessionMs));
  } catch (error) {
    log.warn({ why: messageOf(error) }, 'dashboard sign-out is not known to Redis');
  }
}

/** While Redis does not answer, every session counts: a dashboard is needed most when something is away. */
async function hasSignedOut({ queue, keys }: Sources, id: string): Promise<boolean> {
  try {
    return (await within(ANSWER_MS, queue.exists(keys.signedOut(id)))) === 1;
  } catch {
    return false;
  }
}

function isBearer(authorization: string | undefined): authorization is string {
  return authorization !== undefined && /^bearer /i.test(authorization);
}

function refuse(
  request: FastifyRequest,
  reply: FastifyReply,
  access: Access,
  basePath: string,
): FastifyReply {
  if (typeof access === 'function') return reply.code(401).send({ error: 'The application refused it.' });
  const wantsPage = request.method === 'GET' && request.headers.accept?.includes('text/html') === true;
  if (wantsPage && !isBearer(request.headers.authorization)) {
    return reply.redirect(`${basePath}/sign-in?next=${encodeURIComponent(request.url)}`, 303);
  }
  return reply
    .code(401)
    .header('www-authenticate', 'Bearer realm="tierline"')
    .send({ error: 'Sign in, or send Authorization: Bearer <TIERLINE_DASHBOARD_TOKEN>.' });
}

function forbid(reply: FastifyReply, error: string): FastifyReply {
  return reply.code(403).send({ error });
}

/** Browsers say where a request comes from. A client that says nothing (curl, for example) is judged by its token alone. */
function isOwnPage({ headers }: FastifyRequest): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin' || site === 'none';
  if (headers.origin === undefined) return true;
  return URL.canParse(headers.origin) && new URL(headers.origin).host === headers.host;
}

function tokenOf({ headers, body }: FastifyRequest): string {
  const header = headers['x-csrf-token'];
  if (typeof header === 'string') return header;
  const field = typeof body === 'object' && body !== null && 'csrf' in body ? body.csrf : undefined;
  return typeof field === 'string' ? field : '';
}
