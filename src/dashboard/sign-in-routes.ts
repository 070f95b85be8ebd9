import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import type { Credentials } from './credentials.ts';
import { sessionCookie } from './guard.ts';
import { send } from './page-routes.ts';
import { signInPage } from './pages/sign-in-page.ts';
import type { Sessions } from './sessions.ts';

const ATTEMPTS_A_MINUTE = 10;
/** A longer one is no password; hashing megabytes would be work for nothing. */
const MAX_SECRET = 1024;

const signInQuery = z.object({ next: z.string().catch('/') });
const signInForm = z.object({ secret: z.string().max(MAX_SECRET).catch(''), next: z.string().catch('/') });

/** Signing in and out. Ten attempts a minute from one address. */
export async function addSignIn(
  app: FastifyInstance,
  config: Config,
  log: Logger,
  credentials: Credentials,
  sessions: Sessions,
): Promise<void> {
  const cookie = sessionCookie(config);
  const attributes = { path: '/', sameSite: 'strict', secure: config.dashboardHttps } as const;
  const maxAge = Math.floor(config.dashboardSessionMs / 1000);

  await app.register(rateLimit, { global: false });

  app.get('/sign-in', { config: { access: 'public' } }, (request, reply) => {
    const next = ownPath(signInQuery.parse(request.query).next);
    if (request.session !== undefined) return reply.redirect(next, 303);
    return send(reply, signInPage(next));
  });

  app.post(
    '/sign-in',
    {
      config: {
        access: 'public',
        harmless: true,
        rateLimit: { max: ATTEMPTS_A_MINUTE, timeWindow: '1 minute' },
      },
      bodyLimit: 8 * MAX_SECRET,
    },
    async (request, reply) => {
      const form = signInForm.parse(request.body ?? {});
      const next = ownPath(form.next);
      const accepted = await credentials.acceptsSecret(form.secret);
      if (accepted === 'busy') {
        return send(reply.code(429), signInPage(next, 'Too many are signing in. Try again in a moment.'));
      }
      if (!accepted) {
        log.warn({ address: request.ip }, 'dashboard sign-in refused');
        return send(reply.code(401), signInPage(next, 'That is neither the password nor the access token.'));
      }
      const { cookie: value } = sessions.begin();
      log.info({ address: request.ip }, 'dashboard sign-in');
      return reply.setCookie(cookie, value, { ...attributes, httpOnly: true, maxAge }).redirect(next, 303);
    },
  );

  app.post('/sign-out', { config: { harmless: true } }, (request, reply) => {
    if (request.session !== undefined) sessions.end(request.session);
    return reply.clearCookie(cookie, { ...attributes, httpOnly: true }).redirect('/sign-in', 303);
  });
}

/** Where a sign-in may lead to: a page of this server, whatever the link that led to it said. */
export function ownPath(next: string): string {
  const here = 'http://dashboard.invalid';
  if (!next.startsWith('/') || !URL.canParse(next, here)) return '/';
  const url = new URL(next, here);
  // "//host" and "/\host" are other hosts to a browser, and to URL.
  return url.origin === here && !url.pathname.startsWith('//') ? url.pathname + url.search : '/';
}
