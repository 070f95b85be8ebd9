/** One record of the input, still bytes. */
export interface RawRecord {
  /** Number of the line it begins on, from 1. */
  readonly line: number;
  /** Without its line end. Undefined when the record was longer than allowed. */
  readonly bytes: Buffer | undefined;
  /** The input ended inside a quoted field. */
  readonly unterminated: boolean;
}

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const QUOTE = 0x22;
const COMMA = 0x2c;
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);

/** The position in a CSV record. A quote opens a field only at the start of the field (RFC 4180). */
type Place = 'start' | 'plain' | 'quoted' | 'quoteSeen';

/**
 * Cuts a stream of bytes into records. A record is a line; in CSV a quoted field may contain newlines. Keeps at most one
 * record in memory, and only the length of a record that is too long. Skips blank lines. It can work on bytes, because in
 * UTF-8 no other character contains the byte of a newline, a quote or a comma.
 */
export class RecordSplitter {
  readonly #quotes: boolean;
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #length = 0;
  #line = 1;
  #startLine = 1;
  #place: Place = 'start';
  #first = true;

  /** @param quotes a newline inside a quoted field belongs to the record */
  constructor(quotes: boolean, maxBytes: number) {
    this.#quotes = quotes;
    this.#maxBytes = maxBytes;
  }

  /** The records that end in this piece of the stream. */
  push(piece: Buffer): RawRecord[] {
    const records: RawRecord[] = [];
    let from = 0;
    for (;;) {
      const at = this.#quotes ? this.#unquotedNewline(piece, from) : piece.indexOf(NEWLINE, from);
      if (at < 0) break;
      this.#keep(piece.subarray(from, at));
      if (!this.#quotes) this.#line++;
      this.#end(records, false);
      from = at + 1;
    }
    this.#keep(piece.subarray(from));
    return records;
  }

  /** The record after the last newline. */
  finish(): RawRecord[] {
    const records: RawRecord[] = [];
    this.#end(records, this.#place === 'quoted');
    return records;
  }

  #unquotedNewline(piece: Buffer, from: number): number {
    let place = this.#place;
    for (let i = from; i < piece.length; i++) {
      const byte = piece[i];
      if (byte === NEWLINE) this.#line++;
      if (place === 'quoted') {
        if (byte === QUOTE) place = 'quoteSeen';
        continue;
      }
      if (byte === NEWLINE) {
        this.#place = 'start';
        return i;
      }
      // Two quotes inside a quoted field stand for one.
      if (byte === QUOTE && (place === 'start' || place === 'quoteSeen')) place = 'quoted';
      else place = byte === COMMA ? 'start' : 'plain';
    }
    this.#place = place;
    return -1;
  }

  #keep(part: Buffer): void {
    this.#length += part.length;
    if (this.#length > this.#maxBytes) this.#parts = [];
    else if (part.length > 0) this.#parts.push(part);
  }

  #end(records: RawRecord[], unterminated: boolean): void {
    const line = this.#startLine;
    const tooLong = this.#length > this.#maxBytes;
    let bytes = tooLong ? undefined : this.#parts.length === 1 ? this.#parts[0] : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#length = 0;
    this.#startLine = this.#line;
    if (bytes !== undefined) {
      if (this.#first && bytes.subarray(0, 3).equals(BOM)) bytes = bytes.subarray(3);
      if (bytes.at(-1) === RETURN) bytes = bytes.subarray(0, -1);
      this.#first = false;
      if (isBlank(bytes)) return;
    }
    records.push({ line, bytes, unterminated });
  }
}

function isBlank(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === RETURN);
}

/**
 * The fields of one CSV record (RFC 4180). Commas separate them. A field with a comma, a quote or a newline is quoted, and
 * quotes in it are doubled.
 * @throws SyntaxError that says what is wrong and does not quote the text
 */
export function parseCsvRecord(record: string): string[] {
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    if (record[at] === '"') {
      const [field, next] = quotedField(record, at, fields.length + 1);
      fields.push(field);
      at = next;
    } else {
      const comma = record.indexOf(',', at);
      const field = record.slice(at, comma < 0 ? undefined : comma);
      if (field.includes('"')) {
        throw new SyntaxError(
          `has a field (${fields.length + 1}) with a quote that is not quoted as a whole`,
        );
      }
      fields.push(field);
      at = comma < 0 ? record.length : comma;
    }
    if (at >= record.length) return fields;
    at++;
  }
}

function quotedField(record: string, start: number, number: number): [field: string, next: number] {
  let field = '';
  let from = start + 1;
  for (;;) {
    const quote = record.indexOf('"', from);
    if (quote < 0) throw new SyntaxError(`has a field (${number}) that is quoted and never ends`);
    field += record.slice(from, quote);
    if (record[quote + 1] !== '"') {
      const next = quote + 1;
      if (next < record.length && record[next] !== ',') {
        throw new SyntaxError(`has a field (${number}) that goes on after its closing quote`);
      }
      return [field, next];
    }
    field += '"';
    from = quote + 2;
  }
}
