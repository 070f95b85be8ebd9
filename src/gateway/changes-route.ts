import { once } from 'node:events';
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { AccessDeniedError, TooManyRequestsError } from '../errors.ts';
import { isWithin, prefixOf } from './access.ts';
import { decodePosition, encodePosition } from './change-feeds.ts';
import { ChangeFollower } from './change-follower.ts';
import { failures } from './openapi.ts';
import type { GatewayApp, GatewayParts } from './parts.ts';
import { problemOf } from './problem.ts';
import { goneSignal } from './writes.ts';

/** Something is sent at least so often, so that nobody on the way takes the connection for dead. */
const QUIET_MS = 15_000;
/** When a browser connects again after the connection was cut. */
const RECONNECT_MS = 1000;
const MAX_FOLLOWERS = 1000;
const FULL_RETRY_MS = 10_000;

const changesQuery = z.strictObject({
  prefix: z.string().max(1024).optional().describe('Only changes of ids that begin with this text.'),
  after: z.string().max(8192).optional().describe('As the header `Last-Event-ID`, which comes first.'),
});
const changesHeaders = z.object({
  'last-event-id': z
    .string()
    .max(8192)
    .optional()
    .describe('Id of the last event that was seen. Left out: changes from now on.'),
});

export function addChangesRoute(app: GatewayApp, parts: GatewayParts): void {
  const { feeds, log, stopping } = parts;
  app.get(
    '/v1/changes',
    {
      exposeHeadRoute: false,
      config: { scope: 'read' },
      schema: {
        operationId: 'followChanges',
        summary: 'Follow the changes as server-sent events',
        description:
          'An event `changes` holds the ids of one batch that settled: `[{ "id", "version", "kind": "put" | "delete" | "cache" }]`. An event without data moves the place on. An event `gone` holds a problem and is the last: read the items again, and follow from now on.',
        tags: ['changes'],
        querystring: changesQuery,
        headers: changesHeaders,
        response: {
          200: {
            description: 'The events, until either side ends the connection.',
            content: { 'text/event-stream': { schema: z.string() } },
          },
          ...failures,
        },
      },
    },
    async (request, reply) => {
      const { prefix = prefixOf(request), after } = request.query;
      if (!isWithin(request, prefix)) {
        throw new AccessDeniedError(
          'prefix',
          `Follow a prefix that begins with ${JSON.stringify(prefixOf(request))}.`,
        );
      }
      if (feeds.followers >= MAX_FOLLOWERS) throw new TooManyRequestsError(FULL_RETRY_MS);
      const from = request.headers['last-event-id'] ?? after;
      const follower = new ChangeFollower(
        feeds,
        from === undefined ? feeds.head : decodePosition(from),
        prefix,
        log,
      );
      if (from !== undefined) await follower.check();
      await sendEvents(reply, follower, AbortSignal.any([stopping, goneSignal(reply)]));
    },
  );
}

async function sendEvents(reply: FastifyReply, follower: ChangeFollower, signal: AbortSignal): Promise<void> {
  const headers = reply.type('text/event-stream; charset=utf-8').getHeaders() as OutgoingHttpHeaders;
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, headers);
  raw.write(`retry: ${RECONNECT_MS}\n${idLine(follower)}\n`);
  try {
    for await (const { changes } of follower.batches(QUIET_MS, signal)) {
      // Without data a browser notes the id and calls nobody.
      const data = changes.length === 0 ? '' : `event: changes\ndata: ${JSON.stringify(changes)}\n`;
      await written(raw, `${data}${idLine(follower)}\n`, signal);
    }
  } catch (error) {
    if (!signal.aborted) raw.write(`event: gone\ndata: ${JSON.stringify(problemOf(error))}\n\n`);
  }
  raw.end();
}

function idLine({ position }: ChangeFollower): string {
  return `id: ${encodePosition(position)}\n`;
}

/** Waits for a slow receiver: what it has not taken is not read from the feed. */
async function written(raw: ServerResponse, text: string, signal: AbortSignal): Promise<void> {
  if (!raw.write(text) && !signal.aborted) await once(raw, 'drain', { signal });
}
