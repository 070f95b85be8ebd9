import { Buffer } from 'node:buffer';
import type { JsonValue, NewItem } from '../../types.ts';

/** A line that cannot become an item. The message says why, without the line itself. */
export class BrokenLineError extends Error {}

/** Fields that `tierline scan` prints beside those that are read back. */
const PRINTED_ONLY = new Set(['contentHash', 'version', 'updatedAt']);

/**
 * The item of one JSON line. Without `idField` the line is an item as `tierline scan` prints it: `id`, `content`, and
 * if wanted `state`, `traceParent` and `contentType` (`binary`: content is base64). With `idField` the whole line is the
 * content, and that field of it the id.
 * @throws BrokenLineError
 */
export function itemOfJson(text: string, idField: string | undefined): NewItem {
  const value = parseJson(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new BrokenLineError('is not a JSON object');
  }
  const record = value as Readonly<Record<string, JsonValue>>;
  if (idField !== undefined) return { id: idOf(record[idField], idField), content: record };

  const fields = Object.entries(record).filter(([name]) => name !== 'contentType' && !PRINTED_ONLY.has(name));
  const item = Object.fromEntries(fields) as unknown as NewItem;
  if (!('content' in item)) {
    throw new BrokenLineError('has no "content"; if the line itself is the content, name its id with --id');
  }
  const { contentType = 'json' } = record;
  if (contentType !== 'json' && contentType !== 'binary') {
    throw new BrokenLineError('has a "contentType" that is neither "json" nor "binary"');
  }
  return contentType === 'binary' ? { ...item, content: binaryOf(item.content) } : item;
}

/** The item of one CSV record: the columns, all text, are the content. @throws BrokenLineError */
export function itemOfColumns(names: readonly string[], values: readonly string[], idField: string): NewItem {
  if (values.length !== names.length) {
    throw new BrokenLineError(`has ${values.length} fields where the heading has ${names.length}`);
  }
  const content = Object.fromEntries(names.map((name, i) => [name, values[i] as string]));
  return { id: idOf(content[idField], idField), content };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // V8 quotes the text around the fault, which may be anybody's secret: only the place is told.
    const position = /at position (\d+)/.exec(error instanceof Error ? error.message : '')?.[1];
    throw new BrokenLineError(
      `is not JSON${position === undefined ? '' : ` (character ${Number(position) + 1})`}`,
    );
  }
}

function idOf(value: JsonValue | undefined, field: string): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' && Number.isFinite(value)) return String(value);
  throw new BrokenLineError(
    value === undefined
      ? `has no field ${JSON.stringify(field)} for the id`
      : `has an id in ${JSON.stringify(field)} that is neither text nor a number`,
  );
}

function binaryOf(content: NewItem['content']): Uint8Array {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'base64') : undefined;
  // Buffer skips what is no base64: only a round trip shows that.
  if (bytes === undefined || bytes.toString('base64') !== content) {
    throw new BrokenLineError('has contentType "binary" but content that is not base64');
  }
  return bytes;
}
