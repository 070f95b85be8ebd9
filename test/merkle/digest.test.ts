import test from 'ava';
import * as fc from 'fast-check';
import { Digester, hashContent, keyHash, xorDigests, ZERO_DIGEST } from '../../src/merkle/digest.ts';
import { contentDigest, sha256, placeOf, stateDigest, xor, ZERO } from '../helpers/reference-digest.ts';

const KEY = 'a key of sixteen or more bytes ✓';
const id = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }),
  fc.constantFrom('a', 'i'.repeat(255), '✓'.repeat(85)),
);
const stamp = fc.oneof(
  fc.integer({ min: 1 }),
  fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  fc.constantFrom(2 ** 32 - 1, 2 ** 32),
);
const key = fc.constantFrom(undefined, KEY);

test('I5: the content digest is what the design says, with and without a key', (t) => {
  const content = fc.option(fc.oneof(fc.json(), fc.uint8Array()));
  fc.assert(
    fc.property(id, stamp, content, key, (name, version, body, secret) => {
      const hash = body === null ? undefined : sha256(body);
      const digest = new Digester(secret).content(
        name,
        version,
        body === null ? undefined : hashContent(body),
      );
      t.is(digest, contentDigest(name, version, hash, secret).toString('hex'));
    }),
  );
});

test('I5: so is the state digest', (t) => {
  const state = fc.oneof(
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 10 }),
    fc.constant('s'.repeat(64)),
  );
  fc.assert(
    fc.property(id, stamp, state, key, (name, version, value, secret) => {
      t.is(
        new Digester(secret).state(name, version, value),
        stateDigest(name, version, value, secret).toString('hex'),
      );
    }),
  );
});

test('a digester carries nothing over from one message to the next', (t) => {
  const digester = new Digester();
  const long = digester.content('i'.repeat(255), 1, hashContent('long'));
  const short = digester.state('a', 1, 's');
  t.is(digester.content('i'.repeat(255), 1, hashContent('long')), long);
  t.is(new Digester().state('a', 1, 's'), short);
});

test('whatever differs shows: id, stamp, content, deletion, state, key', (t) => {
  const plain = new Digester();
  const hash = hashContent('1');
  const digests = [
    plain.content('a', 1, hash),
    plain.content('b', 1, hash),
    plain.content('a', 2, hash),
    plain.content('a', 1 + 2 ** 32, hash),
    plain.content('a', 1, hashContent('2')),
    plain.content('a', 1, undefined),
    plain.state('a', 1, 'default'),
    plain.state('a', 1, 'open'),
    plain.state('ao', 1, 'pen'),
    new Digester(KEY).content('a', 1, hash),
    new Digester(`${KEY}!`).content('a', 1, hash),
  ];
  t.is(new Set(digests).size, digests.length);
});

test('XOR of digests: commutes, undoes itself, and zero changes nothing', (t) => {
  const digest = fc
    .uint8Array({ minLength: 16, maxLength: 16 })
    .map((bytes) => Buffer.from(bytes).toString('hex'));
  fc.assert(
    fc.property(digest, digest, (a, b) => {
      t.is(xorDigests(a, b), xor(Buffer.from(a, 'hex'), Buffer.from(b, 'hex')).toString('hex'));
      t.is(xorDigests(a, b), xorDigests(b, a));
      t.is(xorDigests(xorDigests(a, b), b), a);
      t.is(xorDigests(a, ZERO_DIGEST), a);
      t.is(xorDigests(a, a), ZERO_DIGEST);
    }),
  );
  t.is(ZERO_DIGEST, ZERO.toString('hex'));
});

test('the place of an id in the tree is what the design says, with and without a hash tag', (t) => {
  const braced = fc.string({
    unit: fc.constantFrom('{', '}', 'a', '✓', '\n', '.'),
    minLength: 1,
    maxLength: 20,
  });
  fc.assert(
    fc.property(fc.oneof(id, braced), (name) => {
      t.is(keyHash(name), placeOf(name));
      if (!name.includes('{')) t.is(keyHash(name), Number(sha256(name).readBigUInt64BE() >> 33n));
    }),
  );
});

test('the digest of a row is the XOR of those of its written registers', (t) => {
  const digester = new Digester();
  const row = { id: 'a', contentVersion: 5, contentHash: hashContent('1'), stateVersion: 7, state: 'open' };
  const content = digester.content('a', 5, row.contentHash);
  const state = digester.state('a', 7, 'open');
  t.is(digester.row(row), xorDigests(content, state));
  t.is(digester.row({ ...row, stateVersion: 0 }), content);
  t.is(digester.row({ ...row, contentVersion: 0 }), state);
  t.is(digester.row({ ...row, contentHash: null }), xorDigests(digester.content('a', 5, undefined), state));
  t.is(digester.row({ ...row, contentVersion: 0, stateVersion: 0 }), ZERO_DIGEST);
});
