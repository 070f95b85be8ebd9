import { Buffer, isUtf8 } from 'node:buffer';
import { messageOf } from '../errors.ts';
import { serializeJson } from './json.ts';
import type { JsonValue } from '../types/call.ts';
import type { Item } from '../types/read.ts';
import type { NewItem } from '../types/write.ts';
import { parseCsvRecord, type RawRecord, RecordSplitter } from './records.ts';

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

/** A line that is no item. The message says why and does not quote the line. */
export class BrokenLineError extends Error {}

/** Fields that `tierline scan` prints and `tierline put` ignores. */
const PRINTED_ONLY = new Set(['contentHash', 'version', 'updatedAt']);

/**
 * The item of one JSON line. Without `idField` the line is an item as `tierline scan` prints it: `id`, `content`, and optional
 * `state`, `traceParent` and `contentType` (`binary`: the content is base64). With `idField` the whole line is the content,
 * and this field of it is the id.
 * @throws BrokenLineError
 */
export function itemOfJson(text: string, idField: string | undefined): NewItem {
  const value = parseJson(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new BrokenLineError('is not a JSON object');
  }
  const record = value as Readonly<Record<string, JsonValue>>;
  if (idField !== undefined) return { id: idOf(record[idField], idField), content: record };

  if (isBare(record)) return record as unknown as NewItem;
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

/** Most lines have an id and content alone: they need no copy. */
function isBare(record: Readonly<Record<string, JsonValue>>): boolean {
  for (const key in record) if (key !== 'id' && key !== 'content') return false;
  return 'content' in record;
}

/** The item of one CSV record. Its content is an object with a text for each column. @throws BrokenLineError */
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
    // V8 quotes the text around the fault, which may be a secret. Report only the position.
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
  // Buffer.from skips characters that are not base64, so compare with the text of the bytes.
  if (bytes === undefined || bytes.toString('base64') !== content) {
    throw new BrokenLineError('has contentType "binary" but content that is not base64');
  }
  return bytes;
}

export interface SourceOptions {
  readonly format: 'ndjson' | 'csv';
  readonly idField: string | undefined;
  /** Longest record, in bytes. */
  readonly maxRecordBytes: number;
}

/** The item of one record, or why there is none. */
export type SourceLine =
  | { readonly line: number; readonly bytes: number; readonly item: NewItem }
  | { readonly line: number; readonly bytes: number; readonly problem: string };

const CSV_ID = 'id';

/**
 * Reads a stream of bytes as items and broken lines, in groups, as the stream gives them.
 * @throws BrokenLineError for a CSV heading that cannot be used, because no line after it can be understood
 */
export async function* itemSource(
  stream: AsyncIterable<Buffer>,
  options: SourceOptions,
): AsyncGenerator<SourceLine[]> {
  const splitter = new RecordSplitter(options.format === 'csv', options.maxRecordBytes);
  const parser = options.format === 'csv' ? new CsvParser(options) : jsonParser(options);
  const linesOf = (records: readonly RawRecord[]) =>
    records.map((record) => lineOf(record, parser, options)).filter((line) => line !== undefined);
  for await (const piece of stream) yield linesOf(splitter.push(piece));
  yield linesOf(splitter.finish());
}

/** Makes items of records. The first record of CSV is the heading. */
interface RecordParser {
  /** Whether the next record is the heading. */
  readonly awaitsHeading: boolean;
  /** Undefined for the heading. @throws BrokenLineError, SyntaxError */
  parse(text: string): NewItem | undefined;
}

function jsonParser({ idField }: SourceOptions): RecordParser {
  return { awaitsHeading: false, parse: (text) => itemOfJson(text, idField) };
}

class CsvParser implements RecordParser {
  readonly #idField: string;
  #names: readonly string[] | undefined;

  constructor({ idField = CSV_ID }: SourceOptions) {
    this.#idField = idField;
  }

  get awaitsHeading(): boolean {
    return this.#names === undefined;
  }

  parse(text: string): NewItem | undefined {
    const values = parseCsvRecord(text);
    if (this.#names !== undefined) return itemOfColumns(this.#names, values, this.#idField);
    if (new Set(values).size < values.length) throw new BrokenLineError('names a column twice');
    if (!values.includes(this.#idField)) {
      throw new BrokenLineError(
        `has no column ${JSON.stringify(this.#idField)}; name the column of the id with --id`,
      );
    }
    this.#names = values;
    return undefined;
  }
}

function lineOf(record: RawRecord, parser: RecordParser, options: SourceOptions): SourceLine | undefined {
  const { line } = record;
  const bytes = record.bytes?.length ?? 0;
  const { awaitsHeading } = parser;
  try {
    const item = parser.parse(textOf(record, options));
    return item === undefined ? undefined : { line, bytes, item };
  } catch (error) {
    if (!(error instanceof BrokenLineError || error instanceof SyntaxError)) throw error;
    if (awaitsHeading) throw new BrokenLineError(`the CSV heading (line ${line}) ${messageOf(error)}`);
    return { line, bytes, problem: messageOf(error) };
  }
}

function textOf(record: RawRecord, options: SourceOptions): string {
  if (record.bytes === undefined) {
    throw new BrokenLineError(`is longer than ${options.maxRecordBytes} bytes`);
  }
  if (record.unterminated) throw new BrokenLineError('has a quoted field that never ends');
  if (!isUtf8(record.bytes)) throw new BrokenLineError('is not UTF-8');
  return record.bytes.toString('utf8');
}
