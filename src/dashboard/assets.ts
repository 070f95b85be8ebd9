import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';

const SCRIPT = 'text/javascript; charset=utf-8';
const STYLE = 'text/css; charset=utf-8';

const own = (name: string) => fileURLToPath(new URL(`./assets/${name}`, import.meta.url));
const installed = (name: string) => createRequire(import.meta.url).resolve(name);

/** `open`: the sign-in page needs it. */
const ASSETS = [
  { name: 'style.css', file: () => own('style.css'), type: STYLE, open: true },
  { name: 'icon.svg', file: () => own('icon.svg'), type: 'image/svg+xml', open: true },
  { name: 'live.js', file: () => own('live.js'), type: SCRIPT, open: false },
  { name: 'plots.js', file: () => own('plots.js'), type: SCRIPT, open: false },
  { name: 'uplot.js', file: () => installed('uplot/dist/uPlot.esm.js'), type: SCRIPT, open: false },
  { name: 'uplot.css', file: () => installed('uplot/dist/uPlot.min.css'), type: STYLE, open: false },
] as const;

/** Serves the few files the pages need from memory. */
export function addAssets(app: FastifyInstance): void {
  for (const { name, file, type, open } of ASSETS) {
    const body = readFileSync(file());
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
    app.get(`/assets/${name}`, { config: open ? { access: 'public' } : {} }, (request, reply) => {
      // Asked for again with each page, answered with the body only after an update.
      reply.header('cache-control', 'private, no-cache').header('etag', etag);
      if (request.headers['if-none-match'] === etag) return reply.code(304).send();
      return reply.type(type).send(body);
    });
  }
}
