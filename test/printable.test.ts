import test from 'ava';
import * as fc from 'fast-check';
import { html } from '../src/dashboard/layout.ts';
import { printable, printableLines } from '../src/printable.ts';

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** What must never reach a page or a terminal as it is. */
const UNSEEN: Readonly<Record<string, readonly number[]>> = {
  'C0 controls': range(0x00, 0x1f),
  'DEL and C1 controls': range(0x7f, 0x9f),
  'the soft hyphen': [0xad],
  'bidirectional marks': [0x61c, 0x200e, 0x200f],
  'bidirectional embeddings and overrides': range(0x202a, 0x202e),
  'bidirectional isolates': range(0x2066, 0x2069),
  'zero-width characters': [0x200b, 0x200c, 0x200d, 0x2060, 0xfeff],
  'line and paragraph separators': [0x2028, 0x2029],
  'letters and marks without a shape': [0x34f, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x3164, 0xffa0],
  tags: [0xe0001, ...range(0xe0020, 0xe007f)],
};

for (const [name, points] of Object.entries(UNSEEN)) {
  test(`${name} are shown as escapes, on pages and terminals, and JSON reads them back`, (t) => {
    for (const point of points) {
      const character = String.fromCodePoint(point);
      const shown = printable(`a${character}b`);
      t.regex(shown, /^a(\\u[\da-f]{4}|\\[nrt])+b$/, point.toString(16));
      t.is(html`${`a${character}b`}`.toString(), shown);
      t.is(JSON.parse(`"${shown}"`), `a${character}b`);
    }
  });
}

test('what can be seen stays as it is, in any script', (t) => {
  for (const text of ['uk.nhs.patient.1', 'ärger', '患者', 'مريض', 'חולה', '👩', 'a b', 'n\\o']) {
    t.is(printable(text), text);
  }
});

test('a name that is turned round shows that it is', (t) => {
  t.is(printable('invoice\u202Egnp.exe'), 'invoice\\u202egnp.exe');
});

test('lines of our own stay lines', (t) => {
  t.is(printableLines('{\n  "a": "\u202E"\n}'), '{\n  "a": "\\u202e"\n}');
});

test('any line of JSON stays the same JSON', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      t.deepEqual(JSON.parse(printable(JSON.stringify({ text }))), { text });
    }),
  );
});
