import test from 'ava';
import * as fc from 'fast-check';
import { InvalidItemError } from '../../src/errors.ts';
import { parseId, parseNewItem, parseState } from '../../src/schema/item.ts';
import { submitManyOptionsOf, submitOptionsOf } from '../../src/schema/options.ts';

test('an id is taken if and only if it is 1 to 255 bytes of UTF-8 without NUL', (t) => {
  const id = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.string({ unit: 'grapheme', maxLength: 150 }),
    fc.string({ maxLength: 5 }),
  );
  fc.assert(
    fc.property(id, (value) => {
      const bytes = Buffer.byteLength(value);
      const isValid = bytes >= 1 && bytes <= 255 && !value.includes('\0') && value.isWellFormed();
      if (isValid) t.is(parseId(value), value);
      else t.throws(() => parseId(value), { instanceOf: InvalidItemError });
    }),
    { numRuns: 500 },
  );
});

test('limits count bytes, not characters', (t) => {
  t.is(parseId('é'.repeat(127)).length, 127);
  t.throws(() => parseId('é'.repeat(128)), { message: /has 256 bytes/ });
  t.is(parseState('✓'.repeat(21)).length, 21);
  t.throws(() => parseState('✓'.repeat(22)), { message: /has 66 bytes.*64/ });
});

test('the content limit holds for stored bytes: JSON text, or the binary itself', (t) => {
  t.is(parseNewItem({ id: 'a', content: 'é'.repeat(4) }, 10).bytes, 10);
  t.throws(() => parseNewItem({ id: 'a', content: 'é'.repeat(4) }, 9), {
    instanceOf: InvalidItemError,
    message: /has 10 bytes; at most 9/,
  });
  t.is(parseNewItem({ id: 'a', content: new Uint8Array(9) }, 9).bytes, 9);
  t.throws(() => parseNewItem({ id: 'a', content: new Uint8Array(10) }, 9), { message: /has 10 bytes/ });
});

test('binary is the bytes of its view, in base64', (t) => {
  const view = new Uint8Array(new Uint8Array([1, 2, 3, 4, 5]).buffer, 1, 3);
  t.like(parseNewItem({ id: 'a', content: view }, 100), {
    kind: 'binary',
    body: Buffer.from([2, 3, 4]).toString('base64'),
    bytes: 3,
  });
});

test('options have their defaults, and bounds', (t) => {
  t.like(submitManyOptionsOf({}), { tiers: 'all', atomic: false, ttlMs: undefined });
  t.like(submitOptionsOf({ tiers: 'cache', ttlMs: 1 }), { tiers: 'cache', ttlMs: 1 });
  for (const ttlMs of [0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.throws(() => submitOptionsOf({ ttlMs }), { instanceOf: InvalidItemError });
  }
});

test('bytes of shared memory are copied once, so that another thread cannot part them from their hash', (t) => {
  const shared = new Uint8Array(new SharedArrayBuffer(3)).fill(7);
  const { raw, body } = parseNewItem({ id: 'a', content: shared }, 100);
  shared.fill(9);
  t.is(Buffer.from(raw as Uint8Array).toString('base64'), body);
});
