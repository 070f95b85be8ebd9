import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { AccessDeniedError, InvalidItemError } from '../errors.ts';
import { isWithin, prefixOf, confineId, refuseConfined } from './access.ts';
import { takeJson } from './body.ts';
import { failures } from './openapi.ts';
import type { GatewayApp, GatewayParts } from './parts.ts';
import { idParams, idText, itemSchema, itemsText, pageText, sendJson, stateText } from './representation.ts';
import { answerRange, audit, rangeAcceptedSchema, rangeSettledSchema, waitQuery } from './writes.ts';

const MAX_IDS = 1000;
/** An id of 255 bytes may take six times as much in JSON. */
const MAX_IDS_BODY_BYTES = 2 * 1024 * 1024;
const MAX_PAGE_ITEMS = 1000;

const selection = {
  prefix: z.string().max(1024).optional().describe('Ids that begin with this text.'),
  state: stateText.optional().describe('Items in this state.'),
};
const listQuery = z.strictObject({
  ...selection,
  after: z.string().optional().describe('`next` of the page before.'),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE_ITEMS).default(100).describe('Most items of the page.'),
});

const statusSchema = z
  .object({
    id: z.string(),
    status: z.enum(['synced', 'pending', 'missing']),
    version: z.int().optional().describe('Of `pending` the version on its way, of `synced` the stored one.'),
    inL2: z.boolean().optional().describe('Redis has a copy of this version.'),
    inL3: z.boolean().optional().describe('Postgres has this version.'),
  })
  .meta({ id: 'Status' });

/** Routes of many items, and what is known of one. */
export async function addListRoutes(root: GatewayApp, parts: GatewayParts): Promise<void> {
  const { store, config } = parts;
  addList(root, parts);
  addRangeDelete(root, parts);
  root.get(
    '/v1/status/:id',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getStatus',
        summary: 'Say which tiers have an item, or that a write of it is on its way',
        tags: ['items'],
        params: idParams,
        response: { 200: statusSchema, ...failures },
      },
    },
    async (request) => {
      const { id } = request.params;
      confineId(request, id);
      const found = await store.status(id);
      if (found.status === 'missing') return { id, status: found.status };
      const { status, version, inL2, inL3 } = found;
      return { id, status, version, inL2, inL3 };
    },
  );
  await root.register(async (app: GatewayApp) => {
    takeJson(app, { maxBytes: MAX_IDS_BODY_BYTES, timeoutMs: config.gatewayBodyTimeoutMs });
    app.post(
      '/v1/items::get',
      {
        config: { scope: 'read' },
        schema: {
          operationId: 'getItems',
          summary: 'Read many items',
          description: 'The answer holds an item, or null, for each id, in their order.',
          tags: ['items'],
          body: z.strictObject({ ids: z.array(idText).max(MAX_IDS) }),
          response: { 200: z.object({ items: z.array(itemSchema.nullable()) }), ...failures },
        },
      },
      async (request, reply) => {
        const { ids } = request.body;
        for (const id of ids) confineId(request, id);
        sendJson(reply, itemsText(await store.getMany(ids)));
        return reply;
      },
    );
  });
}

function addList(app: GatewayApp, { store }: GatewayParts): void {
  app.get(
    '/v1/items',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listItems',
        summary: 'List items by prefix or by state, in the order of their ids',
        description: 'Give either `prefix`, where an empty text is all items, or `state`.',
        tags: ['items'],
        querystring: listQuery,
        response: { 200: z.object({ items: z.array(itemSchema), next: z.string().optional() }), ...failures },
      },
    },
    async (request, reply) => {
      const { after, limit } = request.query;
      const { by, key } = selectionOf(request, request.query);
      const options = { limit, ...(after !== undefined && { after }) };
      const page = await (by === 'prefix' ? store.getByPrefix(key, options) : store.getByState(key, options));
      sendJson(reply, pageText(page));
      return reply;
    },
  );
}

function addRangeDelete(app: GatewayApp, parts: GatewayParts): void {
  const { store } = parts;
  app.delete(
    '/v1/items',
    {
      config: { scope: 'write' },
      schema: {
        operationId: 'deleteItems',
        summary: 'Delete all items of a prefix or of a state',
        description: 'Items that are written later live on. An empty prefix is refused.',
        tags: ['items'],
        querystring: waitQuery.extend(selection),
        response: { 200: rangeSettledSchema, 202: rangeAcceptedSchema, ...failures },
      },
    },
    async (request, reply) => {
      const { by, key } = selectionOf(request, request.query);
      const ticket = await (by === 'prefix' ? store.deletePrefix(key) : store.deleteByState(key));
      audit(parts, request, `delete-${by}`, { [by]: key, version: ticket.version });
      return answerRange(parts, reply, ticket, request.query);
    },
  );
}

/** @throws InvalidItemError, AccessDeniedError when it may hold items beyond the prefix of the caller's token */
function selectionOf(
  request: FastifyRequest,
  { prefix, state }: { readonly prefix?: string | undefined; readonly state?: string | undefined },
): { readonly by: 'prefix' | 'state'; readonly key: string } {
  if ((prefix === undefined) === (state === undefined)) {
    throw new InvalidItemError('query', 'needs either prefix or state');
  }
  if (state !== undefined) {
    refuseConfined(request);
    return { by: 'state', key: state };
  }
  if (prefix !== undefined && isWithin(request, prefix)) return { by: 'prefix', key: prefix };
  throw new AccessDeniedError(
    'prefix',
    `Ask for a prefix that begins with ${JSON.stringify(prefixOf(request))}.`,
  );
}
