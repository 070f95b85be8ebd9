import test from 'ava';
import * as fc from 'fast-check';
import { InvalidItemError } from '../../src/errors.ts';
import { serializeJson } from '../../src/schema/json.ts';

const MAX = 1024 * 1024;

test('what is taken comes back from JSON.parse exactly, -0 and the order of keys included', (t) => {
  const part = fc.oneof(
    fc.jsonValue({ noUnicodeString: false }),
    fc.constantFrom(-0, 1e308, '\ud800', '-0', '\0'),
  );
  fc.assert(
    fc.property(fc.oneof(part, fc.array(part), fc.dictionary(fc.string(), part)), (value) => {
      const back = JSON.parse(serializeJson(value, MAX)) as unknown;
      t.deepEqual(exact(back), exact(value));
    }),
    { numRuns: 500 },
  );
});

test('anything else is refused, wherever it hides', (t) => {
  const odd = fc.constantFrom<unknown>(
    undefined,
    Number.NaN,
    Number.NEGATIVE_INFINITY,
    1n,
    Symbol.iterator,
    () => 0,
    new Date(),
    /x/,
    new Set(),
    new Error('x'),
  );
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.constant('array'), fc.string()), { maxLength: 20 }),
      odd,
      (path, value) => {
        const hidden = path.reduce<unknown>(
          (inner, step) => (step === 'array' ? [1, inner] : { [`k${step}`]: inner }),
          value,
        );
        t.throws(() => serializeJson(hidden, MAX), { instanceOf: InvalidItemError });
      },
    ),
  );
});

test('plain objects of another realm and without a prototype are plain', (t) => {
  const bare = Object.assign(Object.create(null) as object, { a: 1 });
  t.is(serializeJson(bare, MAX), '{"a":1}');
});

/** Text that differs wherever the values do. */
function exact(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    Object.is(part, -0) ? 'minus zero' : typeof part === 'string' ? `text ${part}` : part,
  );
}
