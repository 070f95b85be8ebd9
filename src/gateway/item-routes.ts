import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { TRACE_PARENT } from '../schema/item.ts';
import type { JsonValue } from '../types/call.ts';
import type { NewItem } from '../types/write.ts';
import { confineId } from './access.ts';
import { parseJson, takeJson } from './body.ts';
import { ANY_CONTENT, failures } from './openapi.ts';
import type { GatewayApp, GatewayParts } from './parts.ts';
import { problem, sendProblem } from './problem.ts';
import { idParams, sendItem, stateText } from './representation.ts';
import { acceptedSchema, answerWrite, settledSchema, waitQuery } from './writes.ts';

/** A state alone takes no more than this. */
const MAX_STATE_BODY_BYTES = 4096;
const written = { 200: settledSchema, 202: acceptedSchema, ...failures };

const putQuery = waitQuery.extend({
  state: stateText.optional().describe('Left out: the item keeps the state it has.'),
  tiers: z
    .enum(['all', 'cache', 'durable'])
    .default('all')
    .describe('Where the write goes: L2 and L3, L2 only, or L3 only.'),
  ttlMs: z.coerce.number().int().min(1).optional().describe('Bounds the life of the L2 copy.'),
});

/** Routes of one item. */
export async function addItemRoutes(root: GatewayApp, parts: GatewayParts): Promise<void> {
  addRead(root, parts);
  addPut(root, parts);
  addDelete(root, parts);
  await root.register(async (app: GatewayApp) => {
    takeJson(app, { maxBytes: MAX_STATE_BODY_BYTES, timeoutMs: parts.config.gatewayBodyTimeoutMs });
    addState(app, parts);
  });
}

function addPut(app: GatewayApp, parts: GatewayParts): void {
  app.put(
    '/v1/items/:id',
    {
      config: { scope: 'write', requestBody: ANY_CONTENT },
      schema: {
        operationId: 'putItem',
        summary: 'Write the content of an item',
        description:
          'With the content type `application/json` the content is JSON; anything else is stored as it is.',
        tags: ['items'],
        params: idParams,
        querystring: putQuery,
        response: written,
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      confineId(request, id);
      const { state, tiers, ttlMs } = request.query;
      const ticket = await parts.store.submit(itemOf(id, request), {
        tiers,
        ...(state !== undefined && { state }),
        ...(ttlMs !== undefined && { ttlMs }),
      });
      return answerWrite(parts, request, reply, 'put', ticket);
    },
  );
}

function addDelete(app: GatewayApp, parts: GatewayParts): void {
  app.delete(
    '/v1/items/:id',
    {
      config: { scope: 'write' },
      schema: {
        operationId: 'deleteItem',
        summary: 'Delete an item',
        tags: ['items'],
        params: idParams,
        querystring: waitQuery,
        response: written,
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      confineId(request, id);
      const ticket = await parts.store.delete(id);
      return answerWrite(parts, request, reply, 'delete', ticket);
    },
  );
}

function addState(app: GatewayApp, parts: GatewayParts): void {
  app.patch(
    '/v1/items/:id/state',
    {
      config: { scope: 'write' },
      schema: {
        operationId: 'setState',
        summary: 'Set the state of an item',
        tags: ['items'],
        params: idParams,
        querystring: waitQuery,
        body: z.strictObject({ state: stateText }),
        response: written,
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      confineId(request, id);
      const ticket = await parts.store.setState(id, request.body.state);
      return answerWrite(parts, request, reply, 'state', ticket);
    },
  );
}

function addRead(app: GatewayApp, { store }: GatewayParts): void {
  app.get(
    '/v1/items/:id',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getItem',
        summary: 'Read the content of an item',
        description:
          'The answer is the content. `ETag` is its hash: with `If-None-Match` an unchanged content is answered with 304. State and version stand in `Tierline-State` (percent-encoded) and `Tierline-Version`.',
        tags: ['items'],
        params: idParams,
        response: {
          200: {
            description: 'The content.',
            content: {
              'application/json': { schema: z.unknown().describe('JSON content') },
              'application/octet-stream': { schema: z.unknown().describe('Binary content') },
            },
          },
          304: z.null().describe('The content is still the one of `If-None-Match`.'),
          ...failures,
        },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      confineId(request, id);
      const item = await store.get(id);
      return item === undefined
        ? sendProblem(reply, problem(404, 'ERR_NOT_FOUND', 'There is no such item.'))
        : sendItem(request, reply, item);
    },
  );
}

/** JSON when the request says so, else the bytes as they are. */
function itemOf(id: string, { headers, body }: FastifyRequest): NewItem {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.alloc(0);
  const { traceparent, 'content-type': type = '' } = headers;
  const isJson = /^application\/json\s*(;|$)/i.test(type);
  const content = isJson ? (parseJson(bytes) as JsonValue) : bytes;
  return typeof traceparent === 'string' && TRACE_PARENT.test(traceparent)
    ? { id, content, traceParent: traceparent }
    : { id, content };
}
