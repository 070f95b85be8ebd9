import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Credentials } from './credentials.ts';
import { beginSession, endSession } from './guard.ts';
import { document, type Html, html, send } from './layout.ts';
import type { Sources } from './sources.ts';

const ATTEMPTS_A_MINUTE = 10;
/** A longer text is no password, and hashing megabytes would be work for nothing. */
const MAX_SECRET = 1024;

const signInQuery = z.object({ next: z.string().catch('/') });
const signInForm = z.object({ secret: z.string().max(MAX_SECRET).catch(''), next: z.string().catch('/') });

/** Signing in and out. Ten attempts a minute from one address. */
export async function addSignIn(
  app: FastifyInstance,
  sources: Sources,
  credentials: Credentials,
  basePath: string,
): Promise<void> {
  const { log } = sources;
  await app.register(rateLimit, { global: false });

  app.get('/sign-in', { config: { access: 'public' } }, (request, reply) => {
    const next = ownPath(signInQuery.parse(request.query).next, basePath);
    if (request.visitor === 'browser') return reply.redirect(next, 303);
    return send(reply, signInPage(basePath, next));
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
      const next = ownPath(form.next, basePath);
      const accepted = await credentials.acceptsSecret(form.secret);
      if (accepted === 'busy') {
        const why = 'Too many are signing in. Try again in a moment.';
        return send(reply.code(429), signInPage(basePath, next, why));
      }
      if (!accepted) {
        log.warn({ address: request.ip }, 'dashboard sign-in refused');
        const why = 'That is neither the password nor the access token.';
        return send(reply.code(401), signInPage(basePath, next, why));
      }
      beginSession(request, reply);
      log.info({ address: request.ip }, 'dashboard sign-in');
      return reply.redirect(next, 303);
    },
  );

  app.post('/sign-out', { config: { harmless: true } }, async (request, reply) => {
    await endSession(request, sources);
    return reply.redirect(`${basePath}/sign-in`, 303);
  });
}

/** Where a sign-in may lead to: a page of this dashboard, whatever the link that led to it said. */
export function ownPath(next: string, basePath = ''): string {
  const home = `${basePath}/`;
  const here = 'http://dashboard.invalid';
  if (!next.startsWith('/') || !URL.canParse(next, here)) return home;
  const url = new URL(next, here);
  // Browsers and URL read "//host" and "/\host" as other hosts.
  const isOurs = url.origin === here && url.pathname.startsWith(home) && !url.pathname.startsWith('//');
  return isOurs ? url.pathname + url.search : home;
}

/** @param next where to go afterwards; a path of this server */
function signInPage(basePath: string, next: string, problem?: string): Html {
  return document(
    basePath,
    'Sign in',
    html`<main id="content" class="sign-in" tabindex="-1">
<h1>Sign in to Tierline</h1>
<form method="post" action="${basePath}/sign-in">
<input type="hidden" name="next" value="${next}">
${problem !== undefined && html`<p class="notice bad" role="alert" id="problem">${problem}</p>`}
<label for="secret">Password or access token</label>
<input id="secret" name="secret" type="password" autocomplete="current-password" required autofocus${
      problem !== undefined && html` aria-invalid="true" aria-describedby="problem"`
    }>
<button class="primary">Sign in</button>
</form>
</main>`,
  );
}
