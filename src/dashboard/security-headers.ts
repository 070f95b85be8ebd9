import type { FastifyInstance } from 'fastify';

/** Everything comes from this server: no inline script or style, no other host, no frame around the pages. */
const POLICY = [
  "default-src 'self'",
  "base-uri 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "object-src 'none'",
].join('; ');

const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  // Pages show ids and figures: no shared cache may keep them. Assets say otherwise themselves.
  'cache-control': 'no-store',
};

const ONE_YEAR_S = 31_536_000;

/** Puts the headers on every answer, errors included. */
export function addSecurityHeaders(app: FastifyInstance, https: boolean): void {
  app.addHook('onRequest', (_request, reply, done) => {
    reply.headers(HEADERS);
    if (https) reply.header('strict-transport-security', `max-age=${ONE_YEAR_S}`);
    done();
  });
}
