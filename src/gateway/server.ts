import compress from '@fastify/compress';
import rateLimit from '@fastify/rate-limit';
import fastify from 'fastify';
import type { ConnectionError } from 'fastify';
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import type { Socket } from 'node:net';
import type { Logger } from '../log.ts';
import type { GatewayMetrics } from '../metrics/process-metrics.ts';
import { addGuard } from './access.ts';
import { addBatchRoute } from './batch-route.ts';
import { closeUnread, refuseEncoded, takeBytes } from './body.ts';
import { addChangesRoute } from './changes-route.ts';
import { addItemRoutes } from './item-routes.ts';
import { addListRoutes } from './list-routes.ts';
import { addMerkleRoutes } from './merkle-routes.ts';
import { addDocument, addTryItPage } from './openapi.ts';
import type { GatewayApp, GatewayParts } from './parts.ts';
import { answerFailure, problem, type Problem, PROBLEM_TYPE, requestError } from './problem.ts';
import type { Tokens } from './tokens.ts';
import { refuseConditions } from './writes.ts';

/** A connection on which nothing moves is closed after this time. Longer than a write may be waited for. */
const IDLE_TIMEOUT_MS = 120_000;
const KEEP_ALIVE_MS = 65_000;
/** An id of 255 bytes, each percent-encoded, and more: what is too long gets an answer that says so. */
const MAX_PARAMETER_CHARS = 4096;

const NOT_FOUND = 'There is no such route; /docs shows those that there are.';

/** Makes the server, which does not listen yet. */
export async function createGatewayServer(
  parts: GatewayParts,
  tokens: Tokens,
  metrics: GatewayMetrics,
): Promise<GatewayApp> {
  const { config, log } = parts;
  const timeoutMs = config.gatewayBodyTimeoutMs;
  const app: GatewayApp = fastify({
    logger: false,
    connectionTimeout: IDLE_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    http: {
      // Bodies have their own deadlines (body.ts): a batch may take longer than any other request. Fastify's option of this name
      // comes too late: Node has refused a headersTimeout above its own five minutes by then.
      requestTimeout: 0,
      headersTimeout: timeoutMs,
      connectionsCheckingInterval: Math.ceil(timeoutMs / 4),
    },
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: MAX_PARAMETER_CHARS },
    // A path that cannot be decoded.
    frameworkErrors: (error, request, reply) => void answerFailure(log, error, request, reply),
    clientErrorHandler: (error, socket) => answerBrokenRequest(log, error, socket),
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error, request, reply) => answerFailure(log, error, request, reply));
  app.setNotFoundHandler((request, reply) =>
    answerFailure(log, requestError(404, NOT_FOUND), request, reply),
  );
  metrics.watch(app);
  closeUnread(app);
  addHeaders(app);
  await app.register(rateLimit, { global: false });
  addGuard(app, tokens, config.gatewayRequestsPerSecond);
  refuseEncoded(app);
  refuseConditions(app);
  // Also for requests that need no body: Fastify's own parser has no deadline, and refuses a JSON type without a body.
  takeBytes(app, { maxBytes: config.maxContentBytes, timeoutMs });
  // Small answers gain nothing.
  await app.register(compress, { encodings: ['gzip'], globalDecompression: false, threshold: 1024 });
  await addDocument(app);
  await addTryItPage(app);
  await addItemRoutes(app, parts);
  await addListRoutes(app, parts);
  await addBatchRoute(app, parts);
  addChangesRoute(app, parts);
  await addMerkleRoutes(app, parts);
  return app;
}

/** Answers are data: a browser must neither guess a type nor run anything, and no shared cache may keep them. */
function addHeaders(app: GatewayApp): void {
  app.addHook('onRequest', (_request, reply, done) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
    // As helmet does, which has another policy for the page of the routes: what is set on the reply itself would win.
    reply.raw.setHeader('content-security-policy', "default-src 'none'; frame-ancestors 'none'");
    done();
  });
}

/** Answers what Node could not read as a request, or not in time: no route has seen it. Then the connection is closed. */
function answerBrokenRequest(log: Logger, error: ConnectionError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const told = problemOf(error.code);
  log.warn({ status: told.status, code: told.code, why: error.code }, 'request refused');
  const body = JSON.stringify(told);
  const head = [
    `HTTP/1.1 ${told.status} ${told.title}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  if (socket.writable) socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
  socket.destroySoon();
}

function problemOf(code: string): Problem {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return problem(408, 'ERR_BODY_TIMEOUT', 'The headers did not arrive in time.');
  }
  if (code === 'HPE_HEADER_OVERFLOW') {
    return problem(431, 'ERR_INVALID_REQUEST', 'The headers are too large.');
  }
  return problem(400, 'ERR_INVALID_REQUEST', 'This is not HTTP/1.1.');
}
