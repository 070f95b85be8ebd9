import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { itemLine } from '../schema/item-lines.ts';
import { idSchema, MAX_ID_BYTES, MAX_STATE_BYTES, stateSchema } from '../schema/item.ts';
import { serializeJson } from '../schema/json.ts';
import type { Page } from '../types/call.ts';
import type { Item } from '../types/read.ts';

const JSON_TYPE = 'application/json; charset=utf-8';
const BINARY_TYPE = 'application/octet-stream';

export const idText = idSchema.meta({
  description: `1 to ${MAX_ID_BYTES} bytes of UTF-8 without NUL. In a path every character that means something to URLs is percent-encoded.`,
  minLength: 1,
  maxLength: MAX_ID_BYTES,
});
export const stateText = stateSchema.meta({
  description: `1 to ${MAX_STATE_BYTES} bytes of UTF-8 without NUL.`,
  minLength: 1,
  maxLength: MAX_STATE_BYTES,
});
export const idParams = z.object({ id: idText });

export const itemSchema = z
  .object({
    id: z.string(),
    state: z.string(),
    contentType: z.enum(['json', 'binary']),
    content: z.unknown().describe('Any JSON; of binary content its base64.'),
    contentHash: z.string().describe('SHA-256 of the stored bytes, 64 hex digits.'),
    version: z.int().describe('Stamp of the newest write that shaped it, in microseconds.'),
    updatedAt: z.int().describe('When that was, in milliseconds since 1970.'),
  })
  .meta({ id: 'Item' });

/** Answers with the content itself; what else is known of the item stands in headers. */
export function sendItem(request: FastifyRequest, reply: FastifyReply, item: Item): FastifyReply {
  const etag = `"${item.contentHash}"`;
  reply
    .header('etag', etag)
    .header('cache-control', 'private, no-cache')
    .header('last-modified', new Date(item.updatedAt).toUTCString())
    .header('tierline-version', item.version)
    // Header values hold ASCII alone.
    .header('tierline-state', encodeURIComponent(item.state));
  if (matches(request.headers['if-none-match'], etag)) return reply.code(304).send();
  const { content } = item;
  return content instanceof Uint8Array
    ? reply.type(BINARY_TYPE).send(Buffer.from(content.buffer, content.byteOffset, content.byteLength))
    : sendJson(reply, serializeJson(content, Number.MAX_SAFE_INTEGER));
}

/** The weak comparison of RFC 9110: proxies that compress make tags weak. */
function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.trim() === '*' || header.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag);
}

/** Sends JSON that is text already. */
export function sendJson(reply: FastifyReply, text: string): FastifyReply {
  return reply.type(JSON_TYPE).send(text);
}

/** A page as JSON text. Its items are written as they are on the command line, so that -0 stays -0. */
export function pageText({ items, next }: Page<Item>): string {
  const end = next === undefined ? '' : `,"next":${JSON.stringify(next)}`;
  return `{"items":[${items.map(itemLine).join()}]${end}}`;
}

/** Items in the order of their ids, null where there is none. */
export function itemsText(items: readonly (Item | undefined)[]): string {
  return `{"items":[${items.map((item) => (item === undefined ? 'null' : itemLine(item))).join()}]}`;
}
