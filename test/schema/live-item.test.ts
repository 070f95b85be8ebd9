import { inspect } from 'node:util';
import test from 'ava';
import { CorruptItemError } from '../../src/errors.ts';
import { hashContent } from '../../src/merkle/digest.ts';
import { toItem } from '../../src/schema/live-item.ts';
import type { StoredItem } from '../../src/schema/stored-item.ts';

const base: StoredItem = {
  id: 'a',
  kind: 'json',
  contentVersion: 5000,
  stateVersion: 7000,
  tiers: 'all',
  digest: '0'.repeat(32),
  contentHash: hashContent('x'),
  state: 's',
  body: '{"a":[{}]}',
};

test('content that is parsed when it is asked for looks like any property', (t) => {
  const expected = {
    id: 'a',
    contentType: 'json',
    state: 's',
    version: 7000,
    updatedAt: 7,
    contentHash: hashContent('x'),
    content: { a: [{}] },
  };
  t.deepEqual(toItem(base), expected as never);
  t.deepEqual({ ...toItem(base) }, expected as never);
  t.deepEqual(structuredClone(toItem(base)), expected as never);
  t.is(JSON.stringify(toItem(base)), JSON.stringify(expected));
  t.is(inspect(toItem(base)), inspect(expected), 'printed');
  const item = toItem(base);
  t.is(item.content, item.content, 'shared');
  t.true(Object.isFrozen(item) && Object.isFrozen(item.content));
  const binary = toItem({ ...base, kind: 'binary', body: 'AQID' });
  t.deepEqual(binary.content, new Uint8Array([1, 2, 3]));
  t.is(binary.content, binary.content);
});

test('items are frozen to the bottom, and a body that is not JSON is told to whoever asks for it', (t) => {
  const seen = toItem(base);
  t.like(seen, { version: 7000, updatedAt: 7, contentType: 'json', state: 's' });
  t.throws(() => ((seen.content as { a: object[] }).a[0] = {}), { instanceOf: TypeError });
  const corrupt = toItem({ ...base, body: '{' });
  t.is(corrupt.version, 7000);
  t.throws(() => corrupt.content, { instanceOf: CorruptItemError });
  t.throws(() => corrupt.content, { instanceOf: CorruptItemError }, 'again');
  t.regex(inspect(corrupt), /CorruptItemError/, 'printing does not throw');
});
