import test from 'ava';
import * as fc from 'fast-check';
import { createLogger } from '../../src/log.ts';
import {
  boolArray,
  byteaArray,
  digestHalfArray,
  int4Array,
  int8Array,
  textArray,
} from '../../src/postgres/arrays.ts';
import { createPool, type Pool } from '../../src/postgres/pool.ts';
import { loadConfig } from '../../src/config.ts';

let pool: Pool;
test.before(() => {
  pool = createPool(loadConfig().databaseUrl, 2, createLogger('test', 'silent'));
});
test.after.always(() => pool.end());

/** What Postgres understood, element by element as text. */
async function received(parameter: Buffer, type: string, element = 'v::text'): Promise<(string | null)[]> {
  const { rows } = await pool.query<{ v: string | null }>(
    `SELECT ${element} AS v FROM unnest($1::${type}[]) WITH ORDINALITY u(v, n) ORDER BY n`,
    [parameter],
  );
  return rows.map(({ v }) => v);
}

const text = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0') && value.isWellFormed());
const RUNS = { numRuns: 60 };

test('text with NULLs, empty text and unicode', async (t) => {
  const values = fc.array(
    fc.option(fc.oneof(text, fc.constantFrom('', 'NULL', '{a,"b"}', '\\', "'", ' ', '✓😀')), { freq: 4 }),
    { maxLength: 30 },
  );
  await fc.assert(
    fc.asyncProperty(values, async (array) => t.deepEqual(await received(textArray(array), 'text'), array)),
    RUNS,
  );
});

test('json keeps its text byte for byte', async (t) => {
  const values = fc.array(
    fc.option(
      fc.oneof(fc.json(), fc.constantFrom('{"b":1,"a":2,"a":3}', '"\\u0000\\ud800"', ' 1.0 ', '-0')),
      { freq: 4 },
    ),
    { maxLength: 20 },
  );
  await fc.assert(
    fc.asyncProperty(values, async (array) =>
      t.deepEqual(await received(textArray(array, 'json'), 'json'), array),
    ),
    RUNS,
  );
});

test('bytes from base64, with padding and without, and from hex', async (t) => {
  const values = fc.array(fc.option(fc.uint8Array({ maxLength: 70 }), { freq: 4 }), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(values, fc.constantFrom('base64' as const, 'hex' as const), async (array, encoding) => {
      const encoded = array.map((bytes) => (bytes === null ? null : Buffer.from(bytes).toString(encoding)));
      const hex = array.map((bytes) => (bytes === null ? null : Buffer.from(bytes).toString('hex')));
      t.deepEqual(await received(byteaArray(encoded, encoding), 'bytea', `encode(v, 'hex')`), hex);
    }),
    RUNS,
  );
});

test('numbers of 4 and 8 bytes, up to their limits', async (t) => {
  const edge = fc.constantFrom(0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(edge, fc.maxSafeNat())), async (array) => {
      t.deepEqual(await received(int8Array(array), 'bigint'), array.map(String));
    }),
    RUNS,
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer()), async (array) => {
      t.deepEqual(await received(int4Array(array), 'int'), array.map(String));
    }),
    RUNS,
  );
});

test('truth values', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.boolean()), async (array) =>
      t.deepEqual(await received(boolArray(array), 'boolean'), array.map(String)),
    ),
    RUNS,
  );
});

test('halves of digests, as the signed integers that Postgres keeps', async (t) => {
  const digest = fc
    .uint8Array({ minLength: 16, maxLength: 16 })
    .map((bytes) => Buffer.from(bytes).toString('hex'));
  await fc.assert(
    fc.asyncProperty(fc.array(digest), async (digests) => {
      for (const [half, from] of [
        ['first', 0],
        ['last', 16],
      ] as const) {
        const parameter = digestHalfArray(digests, half);
        t.deepEqual(
          await received(parameter, 'bigint', `encode(int8send(v), 'hex')`),
          digests.map((hex) => hex.slice(from, from + 16)),
        );
      }
    }),
    RUNS,
  );
});
