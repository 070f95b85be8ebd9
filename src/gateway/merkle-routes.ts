import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { MAX_CONTENT_BYTES } from '../options.ts';
import {
  identityAnswer,
  idsQuestion,
  itemsQuestion,
  nodeAnswer,
  nodesQuestion,
  weeksAnswer,
} from '../schema/peer.ts';
import type { LeafOptions, PeerRow, RepairPeer } from '../types/merkle.ts';
import { refuseConfined } from './access.ts';
import { takeJson } from './body.ts';
import { failures } from './openapi.ts';
import type { GatewayApp, GatewayParts } from './parts.ts';
import { sendJson } from './representation.ts';
import { audit } from './writes.ts';

const MIB = 1024 * 1024;
/** 65,536 leaves of six digits, or 1,000 ids of 255 bytes that take six times as much in JSON. */
const QUESTION_BYTES = 2 * MIB;
/**
 * Rows of one handover, and one of the largest content that its sender may allow: this side refuses that row, not all of them. JSON
 * takes twice as much of a text full of quotation marks.
 */
const HANDOVER_BYTES = 16 * MIB + 2 * MAX_CONTENT_BYTES;

/** Answers that are written as text: a schema would be walked for each of their many elements. */
const columns = z.looseObject({});

/** The rows are checked where they are taken, and not twice: that takes 3 of the 25 µs that a row costs the gateway. */
const handover = z.strictObject({ rows: z.unknown() });

/** The peer protocol: docs/peer-protocol.md, and not the OpenAPI document, which is for clients. Only tokens with the scope `peer` and without a prefix may use it. */
export async function addMerkleRoutes(root: GatewayApp, parts: GatewayParts): Promise<void> {
  const { config } = parts;
  const peerFor = (request: FastifyRequest): Promise<RepairPeer> => {
    // The tree and its digests tell of all items.
    refuseConfined(request);
    return parts.peer();
  };
  addFacts(root, peerFor);
  const timeoutMs = config.gatewayBodyTimeoutMs;
  await root.register(async (app: GatewayApp) => {
    takeJson(app, { maxBytes: QUESTION_BYTES, timeoutMs });
    addQuestions(app, peerFor);
  });
  await root.register(async (app: GatewayApp) => {
    takeJson(app, { maxBytes: HANDOVER_BYTES, timeoutMs });
    app.post(
      '/v1/merkle/accept',
      {
        config: { scope: 'peer' },
        schema: {
          summary: 'Store rows of another deployment with their own stamps',
          description: 'A register that is newer here stays. The answer comes when all rows have settled.',
          hide: true,
          body: handover,
          response: { 200: columns, ...failures },
        },
      },
      async (request, reply) => {
        const peer = await peerFor(request);
        const rows = await peer.accept(request.body.rows as readonly PeerRow[]);
        audit(parts, request, 'accept', { rows: rows.length });
        return answer(reply, { rows });
      },
    );
  });
}

type PeerFor = (request: FastifyRequest) => Promise<RepairPeer>;

function addFacts(app: GatewayApp, peerFor: PeerFor): void {
  app.get(
    '/v1/merkle/identity',
    {
      config: { scope: 'peer' },
      schema: {
        summary: 'Say what must agree before two deployments are compared',
        hide: true,
        response: { 200: identityAnswer, ...failures },
      },
    },
    async (request) => (await peerFor(request)).identity(),
  );
  app.get(
    '/v1/merkle/root',
    {
      config: { scope: 'peer' },
      schema: {
        summary: 'Count and digest of all live items',
        hide: true,
        response: { 200: nodeAnswer, ...failures },
      },
    },
    async (request) => (await peerFor(request)).root(),
  );
  app.get(
    '/v1/merkle/weeks',
    {
      config: { scope: 'peer' },
      schema: {
        summary: 'Count and digest of the tombstones of each week',
        hide: true,
        response: { 200: weeksAnswer, ...failures },
      },
    },
    async (request) => ({ weeks: [...(await (await peerFor(request)).tombstoneWeeks())] }),
  );
}

function route<T>(summary: string, body: z.ZodType<T>) {
  return {
    config: { scope: 'peer' as const },
    schema: { summary, hide: true, body, response: { 200: columns, ...failures } },
  };
}

function addQuestions(app: GatewayApp, peerFor: PeerFor): void {
  app.post(
    '/v1/merkle/nodes',
    route('List the nodes of the hash tree at one depth', nodesQuestion),
    async (request, reply) => {
      const { bits, within, week } = request.body;
      const options: LeafOptions = {
        bits,
        ...(within !== undefined && { within }),
        ...(week !== undefined && { week }),
      };
      const nodes = await (await peerFor(request)).leaves(options);
      return answer(reply, {
        nodes: nodes.map(({ node }) => node),
        counts: nodes.map(({ count }) => count),
        digests: nodes.map(({ digest }) => digest),
      });
    },
  );
  app.post(
    '/v1/merkle/items',
    route('List ids, versions and digests of the rows in some leaves, or of some ids', itemsQuestion),
    async (request, reply) => {
      const { body } = request;
      const { week = 0 } = body;
      const peer = await peerFor(request);
      const items = await ('ids' in body
        ? peer.itemsOf(body.ids, { week })
        : peer.leafItems(body.leaves, { week }));
      return answer(reply, {
        ids: items.map(({ id }) => id),
        versions: items.map(({ version }) => version),
        digests: items.map(({ digest }) => digest),
      });
    },
  );
  app.post(
    '/v1/merkle/registers',
    route('Tell both registers of rows without their contents', idsQuestion),
    async (request, reply) =>
      answer(reply, { registers: await (await peerFor(request)).registers(request.body.ids) }),
  );
  app.post(
    '/v1/merkle/rows',
    route('Hand rows over, as many of the first ids as an answer holds', idsQuestion),
    async (request, reply) => answer(reply, await (await peerFor(request)).rows(request.body.ids)),
  );
}

function answer(reply: FastifyReply, body: object): FastifyReply {
  return sendJson(reply, JSON.stringify(body));
}
