import { isUtf8 } from 'node:buffer';
import { messageOf } from '../../errors.ts';
import type { NewItem } from '../../types.ts';
import { parseCsvRecord } from './csv-record.ts';
import { BrokenLineError, itemOfColumns, itemOfJson } from './item-line.ts';
import { type RawRecord, RecordSplitter } from './record-splitter.ts';

export interface SourceOptions {
  readonly format: 'ndjson' | 'csv';
  readonly idField: string | undefined;
  /** Longest record, in bytes. */
  readonly maxRecordBytes: number;
}

/** What one record came to. */
export type SourceLine =
  | { readonly line: number; readonly bytes: number; readonly item: NewItem }
  | { readonly line: number; readonly bytes: number; readonly problem: string };

const CSV_ID = 'id';

/**
 * The items of a stream of bytes, and the lines that are none; some at a time, as the stream gives them.
 * @throws BrokenLineError for a CSV heading that cannot be used: no line after it could be understood
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

/** Makes items of records; CSV needs its heading first. */
interface RecordParser {
  /** The next record is the heading: when it cannot be read, nothing after it can. */
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
