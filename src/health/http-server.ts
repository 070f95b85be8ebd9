import { createHash, timingSafeEqual } from 'node:crypto';
import helmet from '@fastify/helmet';
import fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import { InvalidItemError, messageOf, TierUnavailableError } from '../errors.ts';
import type { Logger } from '../log.ts';

export interface HttpServerOptions {
  /** For a whole request to arrive, headers and body. */
  readonly requestTimeoutMs: number;
  /** Browsers reach the server by https: HSTS is sent. */
  readonly https?: boolean;
  readonly log: Logger;
  /** Answers a request that failed. The default sends `{ error }` as JSON. */
  readonly tell?: TellProblem;
}

/** @param why for the one who asked: names no address, user or payload */
export type TellProblem = (
  request: FastifyRequest,
  reply: FastifyReply,
  problem: { readonly status: number; readonly title: string; readonly why: string },
) => FastifyReply;

/** The body of a form takes no more than this. */
const MAX_BODY_BYTES = 64 * 1024;
/** A connection on which nothing moves is closed after this time, also when nobody reads its answer. No page takes as long. */
const IDLE_TIMEOUT_MS = 60_000;
const KEEP_ALIVE_MS = 5000;

/**
 * Makes the server of the probes and of the dashboard, which does not listen yet. All answers carry the headers that keep
 * scripts of others, frames and shared caches out. The answer to a request that failed tells a stranger
 * nothing useful. Requests are not logged, because their paths carry ids, and an id may name a person.
 */
export async function createHttpServer({
  requestTimeoutMs,
  https = false,
  log,
  tell = (_request, reply, { status, why }) => reply.code(status).send({ error: why }),
}: HttpServerOptions): Promise<FastifyInstance> {
  const app = fastify({
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: requestTimeoutMs,
    connectionTimeout: IDLE_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    // Node looks for late requests every 30 s unless it is told otherwise.
    http: { headersTimeout: requestTimeoutMs, connectionsCheckingInterval: requestTimeoutMs / 4 },
    forceCloseConnections: true,
  });
  await app.register(helmet, {
    // Everything comes from this server: no inline script or style, no other host, no frame around the pages.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'self'"],
        baseUri: ["'self'"],
        formAction: ["'self'"],
        frameAncestors: ["'none'"],
        objectSrc: ["'none'"],
      },
    },
    frameguard: { action: 'deny' },
    referrerPolicy: { policy: 'same-origin' },
    hsts: https && { includeSubDomains: false },
  });
  app.addHook('onRequest', (_request, reply, done) => {
    // Answers show ids and figures, so no cache may keep them. Assets say otherwise themselves.
    reply.header('cache-control', 'no-store');
    reply.header('permissions-policy', 'camera=(), geolocation=(), microphone=()');
    done();
  });
  app.setNotFoundHandler((request, reply) =>
    tell(request, reply, { status: 404, title: 'Not found', why: 'There is no such page.' }),
  );
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const problem = problemOf(error);
    if (problem.status === 500) {
      log.error({ err: error, route: request.routeOptions.url }, 'request failed');
    }
    return tell(request, reply, problem);
  });
  return app;
}

function problemOf(error: FastifyError): Parameters<TellProblem>[2] {
  const status =
    error instanceof InvalidItemError
      ? 400
      : error instanceof TierUnavailableError
        ? 503
        : (error.statusCode ?? 500);
  if (status === 429) return { status, title: 'Too many attempts', why: 'Try again in a minute.' };
  if (status === 503) return { status, title: 'Unavailable', why: messageOf(error) };
  if (status < 500) return { status, title: 'That cannot be', why: messageOf(error) };
  return { status: 500, title: 'Something went wrong', why: 'The reason is in the log.' };
}

/** Checks `Authorization: Bearer <token>` in a time that tells nothing about the token. */
export class BearerToken {
  readonly #digest: Buffer;

  constructor(token: string) {
    this.#digest = digestOf(token);
  }

  matches(authorization: string | undefined): boolean {
    const given = /^Bearer ([^\s]+)$/i.exec(authorization ?? '')?.[1] ?? '';
    // timingSafeEqual needs equal lengths. Hashing first also hides the token's length.
    return timingSafeEqual(this.#digest, digestOf(given));
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
