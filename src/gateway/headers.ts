import type { GatewayApp } from './parts.ts';

/** Answers are data: a browser must neither guess a type nor run anything, and no shared cache may keep them. */
export function addHeaders(app: GatewayApp): void {
  app.addHook('onRequest', (_request, reply, done) => {
    reply
      .header('cache-control', 'no-store')
      .header('x-content-type-options', 'nosniff')
      .header('content-security-policy', "default-src 'none'; frame-ancestors 'none'");
    done();
  });
}
