import type { GatewayApp } from './parts.ts';

/** Answers are data: a browser must neither guess a type nor run anything, and no shared cache may keep them. */
export function addHeaders(app: GatewayApp): void {
  app.addHook('onRequest', (_request, reply, done) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
    // As helmet does, which has another policy for the page of the routes: what is set on the reply itself would win.
    reply.raw.setHeader('content-security-policy', "default-src 'none'; frame-ancestors 'none'");
    done();
  });
}
