import test from 'ava';
import * as fc from 'fast-check';
import { parseCsvRecord, RecordSplitter } from '../../src/schema/records.ts';

function split(
  pieces: readonly Buffer[],
  quotes: boolean,
  maxBytes = 1000,
): [number, string | undefined, boolean][] {
  const splitter = new RecordSplitter(quotes, maxBytes);
  return [...pieces.flatMap((piece) => splitter.push(piece)), ...splitter.finish()].map(
    ({ line, bytes, unterminated }) => [line, bytes?.toString(), unterminated],
  );
}

/** The bytes cut at these places: streams cut anywhere, also inside a character. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => bytes.subarray(from, at[i] ?? bytes.length));
}

const csvText = fc
  .array(fc.constantFrom('"', '""', ',', '\n', '\r\n', 'a', 'ü', '✓', ' '), { maxLength: 60 })
  .map((parts) => parts.join(''));

test('the same records however the stream is cut', (t) => {
  fc.assert(
    fc.property(csvText, fc.array(fc.nat(), { maxLength: 12 }), fc.boolean(), (text, places, quotes) => {
      const bytes = Buffer.from(text);
      t.deepEqual(split(cut(bytes, places), quotes), split([bytes], quotes));
    }),
  );
});

test('lines: numbers, blank ones passed over, line ends of both kinds, no newline at the end', (t) => {
  t.deepEqual(split([Buffer.from('\ufeffa\r\n\n \t\nb"\n"c\nd')], false), [
    [1, 'a', false],
    [4, 'b"', false],
    [5, '"c', false],
    [6, 'd', false],
  ]);
  t.deepEqual(split([], false), []);
});

test('a record that is too long is passed over without being kept', (t) => {
  const pieces = [
    Buffer.from('a\n'),
    ...Array.from({ length: 50 }, () => Buffer.alloc(100, 'x')),
    Buffer.from('\nb\n'),
  ];
  t.deepEqual(split(pieces, false), [
    [1, 'a', false],
    [2, undefined, false],
    [3, 'b', false],
  ]);
});

test('any table that is written as CSV is read back, with the lines its records begin on', (t) => {
  const field = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '\r', 'ü', ' ') });
  const table = fc.array(fc.array(field, { minLength: 2, maxLength: 4 }), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(table, fc.array(fc.nat(), { maxLength: 6 }), (rows, places) => {
      const records = rows.map((row) => row.map((value) => `"${value.replaceAll('"', '""')}"`).join(','));
      let line = 1;
      const expected = records.map((record, i) => {
        const begin = line;
        line += record.split('\n').length;
        return [begin, rows[i]];
      });
      const found = split(cut(Buffer.from(records.join('\n')), places), true, 100_000);
      t.deepEqual(
        found.map(([at, text]) => [at, parseCsvRecord(text ?? '')]),
        expected,
      );
    }),
  );
});

const REFUSED = ['a"b', 'a,"b"c', '"a', '"a""', 'a,b"'];
for (const record of REFUSED) {
  test(`refused: ${record}`, (t) => {
    t.throws(() => parseCsvRecord(record), { instanceOf: SyntaxError });
  });
}
