import test from 'ava';
import * as fc from 'fast-check';
import { CorruptItemError } from '../../src/errors.ts';
import { hashContent } from '../../src/merkle/digest.ts';
import { decodeStored, encodeStored, toItem, type StoredItem } from '../../src/schema/stored-item.ts';

const stamp = fc.oneof(fc.constantFrom(0, 1, Number.MAX_SAFE_INTEGER), fc.maxSafeNat());
const digest = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .map((bytes) => Buffer.from(bytes).toString('hex'));
const stored: fc.Arbitrary<StoredItem> = fc
  .record({
    id: fc.constant('a'),
    kind: fc.constantFrom('j' as const, 'b' as const, 'd' as const, 'x' as const),
    contentVersion: stamp,
    stateVersion: stamp,
    origin: fc.constantFrom('r' as const, 'c' as const),
    digest,
    state: fc.oneof(
      fc.string({ minLength: 1, maxLength: 64 }),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }),
    ),
    body: fc.oneof(fc.json(), fc.constant('12345678901234567890')),
  })
  .map((item) =>
    item.kind === 'j' || item.kind === 'b'
      ? { ...item, contentHash: hashContent(item.body) }
      : { ...item, contentHash: '', body: '' },
  );

test('an L2 value says what was put into it', (t) => {
  fc.assert(
    fc.property(stored, (item) => t.deepEqual(decodeStored('a', encodeStored(item)), item)),
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

test('items are frozen to the bottom, and a body that is not JSON is told', (t) => {
  const item: StoredItem = {
    id: 'a',
    kind: 'j',
    contentVersion: 5000,
    stateVersion: 7000,
    origin: 'r',
    digest: '0'.repeat(32),
    contentHash: hashContent('x'),
    state: 's',
    body: '{"a":[{}]}',
  };
  const seen = toItem(item);
  t.like(seen, { version: 7000, updatedAt: 7, contentType: 'json', state: 's' });
  t.throws(() => ((seen.content as { a: object[] }).a[0] = {}), { instanceOf: TypeError });
  t.throws(() => toItem({ ...item, body: '{' }), { instanceOf: CorruptItemError });
});
