import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { AccessDeniedError, TooManyRequestsError } from '../errors.ts';
import type { GatewayToken, Scope } from '../gateway-tokens.ts';
import type { Tokens } from './tokens.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a token needs for this route. A route without it, and without `access: 'public'`, lets nobody in. */
    scope?: Scope;
  }
  interface FastifyRequest {
    /** Whose token the request carries; undefined on public routes. */
    caller: GatewayToken | undefined;
  }
}

/** Requests without a known token that one address may make in a minute. */
const STRANGER_REQUESTS = 120;

/**
 * Stands before every route, also before those that do not exist: a stranger gets 401 everywhere, and learns nothing of the routes.
 * Each token has its own rate, and so has each address that sends no known token.
 */
export function addGuard(app: FastifyInstance, tokens: Tokens, requestsPerSecond: number): void {
  app.decorateRequest('caller', undefined);
  const ofToken = app.createRateLimit({
    max: requestsPerSecond,
    timeWindow: 1000,
    keyGenerator: ({ caller }) => `token ${caller?.name}`,
  });
  const ofAddress = app.createRateLimit({
    max: STRANGER_REQUESTS,
    timeWindow: 60_000,
    keyGenerator: ({ ip }) => `address ${ip}`,
  });
  app.addHook('onRequest', async (request: FastifyRequest, reply: FastifyReply) => {
    const { scope, access } = request.routeOptions.config;
    const caller = tokens.find(request.headers.authorization);
    request.caller = caller;
    const limit = await (caller === undefined ? ofAddress : ofToken)(request);
    if (!limit.isAllowed && limit.isExceeded) throw new TooManyRequestsError(Math.max(1, limit.ttl));
    if (access === 'public') return;
    if (caller === undefined) {
      reply.header('www-authenticate', 'Bearer realm="tierline"');
      throw new AccessDeniedError(
        'token',
        'Send Authorization: Bearer with a token that this gateway knows.',
      );
    }
    // A route that does not exist has no scope, and its answer is 404.
    if (scope !== undefined ? !caller.scopes.includes(scope) : request.routeOptions.url !== undefined) {
      throw new AccessDeniedError(
        'scope',
        `The token ${caller.name} lacks the scope ${scope ?? 'of this route'}.`,
      );
    }
  });
}

/** @throws AccessDeniedError when the caller's token is confined to a prefix that the id lacks */
export function confineId(request: FastifyRequest, id: string): void {
  const denial = denialOf(request, id);
  if (denial !== undefined) throw denial;
}

/** Why the caller may not touch this id. */
export function denialOf(request: FastifyRequest, id: string): AccessDeniedError | undefined {
  return isWithin(request, id) ? undefined : beyond(request);
}

/** Whether an id, or every id below a prefix, is within what the caller's token is confined to. */
export function isWithin(request: FastifyRequest, idOrPrefix: string): boolean {
  return idOrPrefix.startsWith(prefixOf(request));
}

/** What the caller's token is confined to; '' is nothing. */
export function prefixOf({ caller }: FastifyRequest): string {
  return caller?.prefix ?? '';
}

/** @throws AccessDeniedError when the caller's token is confined: a state selects ids of any prefix */
export function refuseConfined(request: FastifyRequest): void {
  if (prefixOf(request) !== '') throw beyond(request);
}

function beyond(request: FastifyRequest): AccessDeniedError {
  return new AccessDeniedError(
    'prefix',
    `The token ${request.caller?.name} is confined to ids that begin with ${JSON.stringify(prefixOf(request))}.`,
  );
}
