import test from 'ava';
import * as fc from 'fast-check';
import { CorruptItemError } from '../../src/errors.ts';
import { hashContent } from '../../src/merkle/digest.ts';
import { decodeStored, encodeStored, type StoredItem } from '../../src/schema/stored-item.ts';

const stamp = fc.oneof(fc.constantFrom(0, 1, Number.MAX_SAFE_INTEGER), fc.maxSafeNat());
const digest = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .map((bytes) => Buffer.from(bytes).toString('hex'));
const stored: fc.Arbitrary<StoredItem> = fc
  .record({
    id: fc.constant('a'),
    kind: fc.constantFrom('json' as const, 'binary' as const, 'deleted' as const, 'fence' as const),
    contentVersion: stamp,
    stateVersion: stamp,
    tiers: fc.constantFrom('all' as const, 'cache' as const, 'durable' as const),
    digest,
    state: fc.oneof(
      fc.string({ minLength: 1, maxLength: 64 }),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }),
    ),
    json: fc.json(),
    bytes: fc.uint8Array({ maxLength: 20 }),
  })
  .map(({ json, bytes, ...item }) => {
    if (item.kind === 'deleted' || item.kind === 'fence') return { ...item, contentHash: '', body: '' };
    const body = item.kind === 'json' ? json : Buffer.from(bytes).toString('base64');
    return { ...item, contentHash: hashContent(body), body };
  });

test('an L2 value says what was put into it', (t) => {
  fc.assert(
    fc.property(stored, (item) => {
      const decoded = decodeStored('a', encodeStored(item));
      for (const field of Object.keys(item) as (keyof StoredItem)[]) t.is(decoded[field], item[field]);
      t.is(encodeStored(decoded), encodeStored(item));
    }),
    { numRuns: 500 },
  );
});

test('values order by content stamp, then state stamp, as text: set-newer.lua compares them so', (t) => {
  fc.assert(
    fc.property(stored, stored, (a, b) => {
      const order =
        Math.sign(a.contentVersion - b.contentVersion) || Math.sign(a.stateVersion - b.stateVersion);
      const [textA, textB] = [encodeStored(a).slice(2, 34), encodeStored(b).slice(2, 34)];
      t.is(textA < textB ? -1 : textA > textB ? 1 : 0, order);
    }),
  );
});

test('what is no value of ours is corrupt, and never an item', (t) => {
  for (const text of ['', '1', '{"a":1}', '2'.repeat(200), `1j${'x'.repeat(200)}`]) {
    t.throws(() => decodeStored('a', text), { instanceOf: CorruptItemError });
  }
});

test('I8: documents, lists, texts and binaries that were cut off are corrupt, wherever they were cut', (t) => {
  const content = fc.oneof(
    fc.json().filter((json) => /^[{["]/.test(json)),
    fc.uint8Array({ minLength: 1, maxLength: 20 }),
  );
  fc.assert(
    fc.property(stored, content, fc.nat(), (item, given, at) => {
      const isJson = typeof given === 'string';
      const body = isJson ? given : Buffer.from(given).toString('base64');
      const text = encodeStored({
        ...item,
        kind: isJson ? 'json' : 'binary',
        contentHash: hashContent(body),
        body,
      });
      // A cut through inner brackets of the same kind may look whole; `verify` finds those.
      const cut = text.slice(0, text.length - body.length + (isJson ? 1 : at % body.length));
      if (!isJson && (at % body.length) % 4 === 0) return;
      t.throws(() => decodeStored('a', cut), { instanceOf: CorruptItemError });
    }),
  );
});
