import { serializeJson } from '../schema/json.ts';
import type { Item } from '../types.ts';

/** One line of NDJSON that `tierline put` reads back as the same item. Binary content is base64. */
export function itemLine(item: Item): string {
  const { content, ...rest } = item;
  // serializeJson and not JSON.stringify: -0 stays -0.
  const text =
    content instanceof Uint8Array
      ? JSON.stringify(Buffer.from(content).toString('base64'))
      : serializeJson(content, Number.MAX_SAFE_INTEGER);
  return `${JSON.stringify({ id: rest.id, state: rest.state, contentType: rest.contentType }).slice(0, -1)},"content":${text},${JSON.stringify(
    { contentHash: rest.contentHash, version: rest.version, updatedAt: rest.updatedAt },
  ).slice(1)}`;
}
