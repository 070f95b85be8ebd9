/**
 * The fields of one CSV record (RFC 4180): separated by commas, quoted when they hold a comma, quote or newline, a quote
 * inside doubled.
 * @throws SyntaxError saying what is wrong, without the text itself
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
