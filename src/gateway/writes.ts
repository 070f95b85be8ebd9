import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { SettleTimeoutError } from '../errors.ts';
import { failureOf, OUTCOME_STATUSES, OUTCOMES } from '../schema/feed.ts';
import type { Outcome, RangeTicket, Ticket } from '../types/write.ts';
import type { GatewayApp, GatewayParts } from './parts.ts';
import { problem, requestError, sendProblem } from './problem.ts';

const MAX_WAIT_MS = 60_000;

/** Query of every write. */
export const waitQuery = z.strictObject({
  wait: z
    .enum(['accepted', 'settled'])
    .default('accepted')
    .describe(
      'When to answer: as soon as the write is queued (202), or when it has settled in every tier (200).',
    ),
  timeoutMs: z.coerce
    .number()
    .int()
    .min(1)
    .max(MAX_WAIT_MS)
    .default(10_000)
    .describe('With `wait=settled`: how long to wait. After that the answer is 202, and the write goes on.'),
});
export type WaitQuery = z.output<typeof waitQuery>;

/** What is not fine is told as a problem: `missing` with 404, others with 422. */
const settledStatus = z.enum(OUTCOME_STATUSES.filter((status) => OUTCOMES[status].isFine));

export const acceptedSchema = z
  .object({ id: z.string(), version: z.int(), status: z.literal('accepted') })
  .meta({ id: 'Accepted', description: 'The write is queued and will be applied. Ask `/v1/status/{id}`.' });
export const settledSchema = z
  .object({ id: z.string(), version: z.int(), status: settledStatus })
  .meta({ id: 'Settled', description: 'The write has settled. `superseded`: a newer one had already won.' });
export const rangeAcceptedSchema = z
  .object({ version: z.int(), status: z.literal('accepted') })
  .meta({ id: 'RangeAccepted' });
export const rangeSettledSchema = z
  .object({
    version: z.int(),
    status: z.literal('settled'),
    deleted: z.int().describe('Items that were live and are deleted now.'),
    dead: z.int().describe('Rows that Postgres refused to change: they stand in the dead letters.'),
  })
  .meta({ id: 'RangeSettled' });

/** Headers that let a write happen only if the item is still as the sender knows it. */
const CONDITIONS = ['if-match', 'if-none-match', 'if-unmodified-since'] as const;

/** A sender relies on its condition, and a queued write cannot keep it: other writes may be applied first. */
export function refuseConditions(app: GatewayApp): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const isWrite = request.routeOptions.config.scope === 'write';
    const condition = CONDITIONS.find((name) => request.headers[name] !== undefined);
    done(
      isWrite && condition !== undefined
        ? requestError(
            400,
            `Writes take no conditions. They are queued, so ${condition} could not be kept. Send the write without it.`,
          )
        : undefined,
    );
  });
}

/** What an audit line calls a write. */
type Operation = 'put' | 'delete' | 'state' | 'delete-prefix' | 'delete-state' | 'batch' | 'accept';

/** One line a write: who wrote what. It holds no content and no token. */
export function audit(
  { log }: Pick<GatewayParts, 'log'>,
  request: FastifyRequest,
  operation: Operation,
  facts: object,
): void {
  log.info({ audit: { token: request.caller?.name, operation, ...facts } }, 'write');
}

/** Notes a write of one id and answers it: 202 when it was accepted, or 200 when it has settled. */
export async function answerWrite(
  parts: GatewayParts,
  request: FastifyRequest<{ Querystring: WaitQuery }>,
  reply: FastifyReply,
  operation: 'put' | 'delete' | 'state',
  ticket: Ticket,
): Promise<FastifyReply> {
  const { id, version } = ticket;
  const { query } = request;
  audit(parts, request, operation, { id, version });
  const outcome = await settledWithin(parts, reply, query, (options) => ticket.settled(options));
  if (outcome === undefined) {
    reply.header('location', `/v1/status/${encodeURIComponent(id)}`);
    return reply.code(202).send({ id, version, status: 'accepted' });
  }
  const refusal = refusalOf(outcome);
  if (refusal !== undefined) return sendProblem(reply, refusal);
  return reply.code(200).send({ id, version: outcome.version, status: outcome.status });
}

function refusalOf(outcome: Outcome) {
  if (outcome.status === 'missing')
    return problem(404, 'ERR_NOT_FOUND', 'There is no such item, so it has no state.');
  const failure = failureOf(outcome);
  if (failure === undefined) return undefined;
  return problem(422, 'ERR_DEAD_LETTER', `The write was not applied: ${failure}`);
}

/** Answers a range delete, as `answerWrite`. @throws JobRefusedError */
export async function answerRange(
  parts: GatewayParts,
  reply: FastifyReply,
  ticket: RangeTicket,
  query: WaitQuery,
): Promise<FastifyReply> {
  const { version } = ticket;
  const outcome = await settledWithin(parts, reply, query, (options) => ticket.settled(options));
  return outcome === undefined
    ? reply.code(202).send({ version, status: 'accepted' })
    : reply.code(200).send({ version, status: 'settled', ...outcome });
}

/** Undefined when nobody waits, the time is up, or the gateway stops: the write goes on. */
async function settledWithin<T>(
  { stopping }: GatewayParts,
  reply: FastifyReply,
  { wait, timeoutMs }: WaitQuery,
  settled: (options: { timeoutMs: number; signal: AbortSignal }) => Promise<T>,
): Promise<T | undefined> {
  if (wait === 'accepted') return undefined;
  const signal = AbortSignal.any([stopping, goneSignal(reply)]);
  try {
    return await settled({ timeoutMs, signal });
  } catch (error) {
    if (error instanceof SettleTimeoutError || signal.aborted) return undefined;
    throw error;
  }
}

/** Aborted when the answer has been sent or its receiver went away. */
export function goneSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => controller.abort());
  return controller.signal;
}
