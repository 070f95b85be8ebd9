import { STATUS_CODES } from 'node:http';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import {
  AccessDeniedError,
  BackpressureError,
  InvalidItemError,
  messageOf,
  QueueUnavailableError,
  TierlineError,
  TooManyRequestsError,
} from '../errors.ts';
import type { Logger } from '../log.ts';

/** RFC 9457. `code` is what programs branch on; the other fields say more about some codes. */
export const problemSchema = z
  .object({
    title: z.string().describe('What the status means.'),
    status: z.int(),
    detail: z.string().describe('What happened and what the caller may do.'),
    code: z.string().describe('Stable: an error code of Tierline.'),
    field: z.string().optional().describe('The part of the request that cannot be used.'),
    reason: z.string().optional(),
    accepted: z
      .union([z.literal(false), z.literal('unknown')])
      .optional()
      .describe('Of ERR_QUEUE_UNAVAILABLE: whether the write may be applied all the same.'),
    retryAfterMs: z.int().optional(),
  })
  .meta({ id: 'Problem', description: 'A failed request (RFC 9457).' });
export type Problem = z.output<typeof problemSchema>;

/** Statuses of errors of Tierline. Those that are not here are faults of the server. */
const STATUSES: Readonly<Record<string, number>> = {
  ERR_INVALID_ITEM: 400,
  ERR_ATOMIC_REFUSED: 400,
  ERR_ACCESS_DENIED: 403,
  ERR_BODY_TIMEOUT: 408,
  ERR_CHANGES_GONE: 410,
  ERR_BODY_TOO_LARGE: 413,
  ERR_TOO_MANY_REQUESTS: 429,
  ERR_BACKPRESSURE: 503,
  ERR_QUEUE_UNAVAILABLE: 503,
  ERR_QUEUE_LOST: 503,
  ERR_TIER_UNAVAILABLE: 503,
  ERR_CLOSED: 503,
};

/** Codes of requests that Fastify refuses. */
const REQUEST_CODES: Readonly<Record<number, string>> = {
  400: 'ERR_INVALID_REQUEST',
  404: 'ERR_NOT_FOUND',
  406: 'ERR_NOT_ACCEPTABLE',
  408: 'ERR_BODY_TIMEOUT',
  413: 'ERR_BODY_TOO_LARGE',
  414: 'ERR_INVALID_REQUEST',
  415: 'ERR_MEDIA_TYPE',
  431: 'ERR_INVALID_REQUEST',
};

/** A fault of a request that is no error of the library. */
export function requestError(statusCode: number, message: string): Error {
  return Object.assign(new Error(message), { statusCode });
}

/** When a caller may try again whose backend is away. */
const OUTAGE_RETRY_MS = 1000;

export function problemOf(error: unknown): Problem {
  if (error instanceof TierlineError) return ofTierline(error);
  const { statusCode = 500 } = error as FastifyError;
  if (statusCode < 400 || statusCode >= 500) {
    return problem(500, 'ERR_INTERNAL', 'Something went wrong. The reason is in the log of the gateway.');
  }
  return problem(statusCode, REQUEST_CODES[statusCode] ?? 'ERR_INVALID_REQUEST', messageOf(error));
}

export function problem(status: number, code: string, detail: string): Problem {
  return { title: STATUS_CODES[status] ?? 'Error', status, detail, code };
}

function ofTierline(error: TierlineError): Problem {
  const { code, message } = error;
  const status =
    error instanceof AccessDeniedError && error.reason === 'token' ? 401 : (STATUSES[code] ?? 500);
  const told = problem(status, code, message);
  if (error instanceof InvalidItemError) return { ...told, field: error.field, reason: error.reason };
  if (error instanceof AccessDeniedError) return { ...told, reason: error.reason };
  if (error instanceof BackpressureError || error instanceof TooManyRequestsError) {
    return { ...told, retryAfterMs: error.retryAfterMs };
  }
  const waits = status === 503 ? { retryAfterMs: OUTAGE_RETRY_MS } : {};
  return error instanceof QueueUnavailableError
    ? { ...told, ...waits, accepted: error.accepted }
    : { ...told, ...waits };
}

export const PROBLEM_TYPE = 'application/problem+json';

export function sendProblem(reply: FastifyReply, told: Problem): FastifyReply {
  if (told.retryAfterMs !== undefined) reply.header('retry-after', Math.ceil(told.retryAfterMs / 1000));
  return reply.code(told.status).type(PROBLEM_TYPE).send(JSON.stringify(told));
}

/** Answers a request that failed, and logs it once: who asked and what was refused, and nothing of the id or the payload. */
export function answerFailure(
  log: Logger,
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const told = problemOf(error);
  const { method, caller } = request;
  const line = {
    token: caller?.name,
    method,
    route: request.routeOptions.url,
    status: told.status,
    code: told.code,
  };
  if (told.status === 500) log.error({ ...line, err: error }, 'request failed');
  else log.warn(line, 'request refused');
  // Fastify sets it after a fault of the body, and Node then closes at once; body.ts gives the sender time to read the answer.
  reply.removeHeader('connection');
  return sendProblem(reply, told);
}
