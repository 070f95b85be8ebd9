import test from 'ava';
import * as fc from 'fast-check';
import { ConfigError } from '../../src/errors.ts';
import { Tokens, hashToken, makeToken } from '../../src/gateway/tokens.ts';
import { gatewayTokenList, SCOPES, tokenEntry } from '../../src/gateway-tokens.ts';

const HASH = 'a'.repeat(64);
const OTHER = 'b'.repeat(64);

function problemOf(list: unknown): string | undefined {
  return gatewayTokenList.safeParse(list).error?.issues[0]?.message;
}

test('an entry holds name, scopes, hash and prefix, and reads back as it was written', (t) => {
  const prefix = fc.string({ unit: 'binary', maxLength: 20 }).filter((text) => text.isWellFormed());
  const scopes = fc.subarray(['read', 'write'] as const, { minLength: 1 });
  fc.assert(
    fc.property(scopes, prefix, (scopes, prefix) => {
      const token = { name: 'a.b-c_1', scopes, hash: HASH, prefix };
      const other = { name: 'other', scopes: ['peer' as const], hash: OTHER, prefix: '' };
      t.deepEqual(gatewayTokenList.parse(`${tokenEntry(token)}, ${tokenEntry(other)}`), [token, other]);
    }),
  );
  t.deepEqual(gatewayTokenList.parse('\n'), []);
});

test('an entry that cannot be used is told by its number', (t) => {
  t.regex(problemOf(`a:read:${HASH} b:reed:${OTHER}`) ?? '', /entry 2 has a scope/);
  t.regex(problemOf('a:read:abc') ?? '', /entry 1 has a hash that is not 64 hex digits/);
  t.regex(problemOf(`a b:read:${HASH}`) ?? '', /entry 1/);
  t.regex(problemOf(`a:read:${HASH}:%zz`) ?? '', /prefix that is not UTF-8/);
  t.regex(problemOf(`a:read+peer:${HASH}:x`) ?? '', /leave the prefix out/);
  t.regex(problemOf(`a:read:${HASH},a:read:${OTHER}`) ?? '', /entry 2 has the name of an entry before it/);
  t.regex(problemOf(`a:read:${HASH},b:read:${HASH}`) ?? '', /entry 2 has the hash of an entry before it/);
  t.false((problemOf(`a:read:${HASH}x`) ?? '').includes(HASH));
});

test('a token is found by its header alone', (t) => {
  const [first, second] = [makeToken(), makeToken()];
  t.not(first, second);
  const tokens = new Tokens(
    [first, second].map((token, i) => ({
      name: `t${i}`,
      scopes: SCOPES,
      hash: hashToken(token),
      prefix: '',
    })),
  );
  t.is(tokens.find(`Bearer ${second}`)?.name, 't1');
  t.is(tokens.find(`bearer ${first}`)?.name, 't0');
  for (const header of [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    `Bearer ${first}x`,
    `Basic ${first}`,
    `Bearer ${hashToken(first)}`,
  ]) {
    t.is(tokens.find(header), undefined, header);
  }
  t.throws(() => new Tokens([]), { instanceOf: ConfigError });
});
