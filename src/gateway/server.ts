import compress from '@fastify/compress';
import rateLimit from '@fastify/rate-limit';
import fastify from 'fastify';
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import type { GatewayMetrics } from '../metrics/gateway-metrics.ts';
import { addGuard } from './access.ts';
import { addBatchRoute } from './batch-route.ts';
import { closeUnread, refuseEncoded } from './body.ts';
import { addChangesRoute } from './changes-route.ts';
import { addItemRoutes } from './item-routes.ts';
import { addListRoutes } from './list-routes.ts';
import { addMerkleRoutes } from './merkle-routes.ts';
import { addDocument, addTryItPage } from './openapi.ts';
import type { GatewayApp, GatewayParts } from './parts.ts';
import { answerFailure, requestError } from './problem.ts';
import { addHeaders } from './headers.ts';
import { answerBrokenRequest } from './broken-request.ts';
import type { Tokens } from './tokens.ts';

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
    // Bodies have their own deadlines (body.ts): a batch may take longer than any other request.
    requestTimeout: 0,
    connectionTimeout: IDLE_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    http: { headersTimeout: timeoutMs, connectionsCheckingInterval: timeoutMs / 4 },
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
