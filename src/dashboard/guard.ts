import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Config } from '../config.ts';
import type { Credentials } from './credentials.ts';
import { sameText, type Session, type Sessions } from './sessions.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** No credentials are needed. */
    access?: 'public';
    /** Allowed in read-only mode although it is no read. */
    harmless?: true;
  }
  interface FastifyRequest {
    /** Of a browser that signed in; undefined for a program with the token, and on public routes. */
    session: Session | undefined;
  }
}

/** Where a browser keeps its session; `__Host-` makes browsers refuse it from anybody but this very host over https. */
export function sessionCookie({ namespace, dashboardHttps }: Config): string {
  return `${dashboardHttps ? '__Host-' : ''}tierline-${namespace}`;
}

const SAFE_METHODS = new Set(['GET', 'HEAD']);

/**
 * Stands before every route, those of Bull Board and those that do not exist included:
 *
 *   who     a session's cookie or the bearer token, unless the route is public; else 401, or the sign-in page for a browser
 *   where   a request that changes something comes from a page of ours (`Sec-Fetch-Site`, `Origin`); else 403
 *   what    it carries its session's token, in the field `csrf` or the header `x-csrf-token`; else 403. The bearer token needs neither: no browser sends it by itself.
 *   mode    in read-only mode it is refused with 403
 */
export function addGuard(
  app: FastifyInstance,
  config: Config,
  credentials: Credentials,
  sessions: Sessions,
): void {
  const cookie = sessionCookie(config);
  app.decorateRequest('session', undefined);

  app.addHook('onRequest', async (request, reply) => {
    const { authorization } = request.headers;
    const byToken = authorization !== undefined && /^bearer /i.test(authorization);
    if (byToken && !credentials.acceptsHeader(authorization)) return refuse(request, reply);
    request.session = byToken ? undefined : sessions.find(request.cookies[cookie]);
    const isPublic = request.routeOptions.config.access === 'public';
    if (!byToken && request.session === undefined && !isPublic) return refuse(request, reply);
    if (SAFE_METHODS.has(request.method)) return undefined;
    if (config.dashboardReadOnly && request.routeOptions.config.harmless !== true) {
      return forbid(reply, 'The dashboard is read-only (TIERLINE_DASHBOARD_READ_ONLY).');
    }
    if (!byToken && !isOwnPage(request)) return forbid(reply, 'The request came from another site.');
    return undefined;
  });

  // After the body is read: a form carries the token as a field.
  app.addHook('preHandler', async (request, reply) => {
    if (SAFE_METHODS.has(request.method) || request.session === undefined) return undefined;
    if (sameText(tokenOf(request), request.session.csrfToken)) return undefined;
    return forbid(reply, 'The form has expired or came from elsewhere. Open the page again.');
  });
}

function refuse(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const wantsPage = request.method === 'GET' && request.headers.accept?.includes('text/html') === true;
  if (wantsPage && !/^bearer /i.test(request.headers.authorization ?? '')) {
    return reply.redirect(`/sign-in?next=${encodeURIComponent(request.url)}`, 303);
  }
  return reply
    .code(401)
    .header('www-authenticate', 'Bearer realm="tierline"')
    .send({ error: 'Sign in, or send Authorization: Bearer <TIERLINE_DASHBOARD_TOKEN>.' });
}

function forbid(reply: FastifyReply, error: string): FastifyReply {
  return reply.code(403).send({ error });
}

/** Browsers say where a request comes from; one that says nothing (curl, say) is judged by its token alone. */
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
