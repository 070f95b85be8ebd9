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
  const parse = options.format === 'csv' ? csvParser(options) : jsonParser(options);
  const linesOf = (records: readonly RawRecord[]) =>
    records.map((record) => lineOf(record, parse, options)).filter((line) => line !== undefined);
  for await (const piece of stream) yield linesOf(splitter.push(piece));
  yield linesOf(splitter.finish());
}

type Parse = (text: string) => NewItem | undefined;

function jsonParser({ idField }: SourceOptions): Parse {
  return (text) => itemOfJson(text, idField);
}

function csvParser({ idField = CSV_ID }: SourceOptions): Parse {
  let names: readonly string[] | undefined;
  return (text) => {
    const values = parseCsvRecord(text);
    if (names !== undefined) return itemOfColumns(names, values, idField);
    names = values;
    if (new Set(names).size < names.length) throw new HeadingError('the CSV heading names a column twice');
    if (!names.includes(idField)) {
      throw new HeadingError(
        `the CSV heading has no column ${JSON.stringify(idField)}; name the id's column with --id`,
      );
    }
    return undefined;
  };
}

/** No record can be understood without its heading. */
class HeadingError extends BrokenLineError {}

function lineOf(record: RawRecord, parse: Parse, options: SourceOptions): SourceLine | undefined {
  const { line } = record;
  if (record.bytes === undefined) {
    return { line, bytes: 0, problem: `is longer than ${options.maxRecordBytes} bytes` };
  }
  const bytes = record.bytes.length;
  if (record.unterminated) return { line, bytes, problem: 'has a quoted field that never ends' };
  if (!isUtf8(record.bytes)) return { line, bytes, problem: 'is not UTF-8' };
  try {
    const item = parse(record.bytes.toString('utf8'));
    return item === undefined ? undefined : { line, bytes, item };
  } catch (error) {
    if (error instanceof HeadingError) throw error;
    if (error instanceof BrokenLineError || error instanceof SyntaxError) {
      return { line, bytes, problem: messageOf(error) };
    }
    throw error;
  }
}
