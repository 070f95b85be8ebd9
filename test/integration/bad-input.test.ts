import { createHash } from 'node:crypto';
import test from 'ava';
import * as fc from 'fast-check';
import { startDrain } from '../../src/drain/start-drain.ts';
import { AtomicRefusedError, InvalidItemError } from '../../src/errors.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { JsonValue } from '../../src/types/call.ts';
import type { Item } from '../../src/types/read.ts';
import type { NewItem } from '../../src/types/write.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { removeEach } from '../helpers/redis-keys.ts';

const MIB = 1024 * 1024;

const deployment = await createDeployment();
// Reads go to L2 and L3.
const store = await openStore({ ...deployment.options, l1MaxBytes: 0 });
const drain = await startDrain(deployment.options);
test.after.always('I5: odd ids and contents leave a true tree', async (t) => {
  t.deepEqual((await store.merkle.verify()).differences, []);
  await store.close();
  await drain.close();
  await deployment.close();
});

let count = 0;
const freshId = () => `item.${++count}`;

function nested(levels: number): JsonValue {
  let value: JsonValue = [];
  for (let i = 1; i < levels; i++) value = [value];
  return value;
}
function circular(): object {
  const value: { self?: object } = {};
  value.self = value;
  return value;
}

const REFUSED: readonly (readonly [
  name: string,
  item: object | null | undefined,
  field: string,
  options?: object,
])[] = [
  ['an id of 256 bytes', { id: 'i'.repeat(256), content: 1 }, 'id'],
  ['an id of 86 characters and 258 bytes', { id: '✓'.repeat(86), content: 1 }, 'id'],
  ['a NUL in the id', { id: 'a\0b', content: 1 }, 'id'],
  ['a lone surrogate in the id', { id: 'a\ud800', content: 1 }, 'id'],
  ['an empty id', { id: '', content: 1 }, 'id'],
  ['a number as id', { id: 7, content: 1 }, 'id'],
  ['no id', { content: 1 }, 'id'],
  ['null as item', null, 'item'],
  ['undefined as item', undefined, 'item'],
  ['an unknown field', { id: 'a', content: 1, ttl: 5 }, 'item'],
  ['no content', { id: 'a' }, 'content'],
  ['undefined as content', { id: 'a', content: undefined }, 'content'],
  ['undefined inside', { id: 'a', content: { b: [1, undefined] } }, 'content.b[1]'],
  ['a sparse array', { id: 'a', content: [1, , 3] }, 'content[1]'], // oxlint-disable-line no-sparse-arrays -- that is the case
  ['NaN', { id: 'a', content: { n: Number.NaN } }, 'content.n'],
  ['Infinity', { id: 'a', content: Number.POSITIVE_INFINITY }, 'content'],
  ['a BigInt', { id: 'a', content: { n: 1n } }, 'content.n'],
  ['a function', { id: 'a', content: [() => 1] }, 'content[0]'],
  ['a symbol', { id: 'a', content: Symbol('s') }, 'content'],
  ['a symbol as key', { id: 'a', content: { [Symbol('s')]: 1 } }, 'content'],
  ['a Date', { id: 'a', content: { at: new Date(0) } }, 'content.at'],
  ['a Map', { id: 'a', content: new Map([['k', 1]]) }, 'content'],
  [
    'a class instance',
    {
      id: 'a',
      content: new (class Point {
        x = 1;
      })(),
    },
    'content',
  ],
  ['an object with toJSON', { id: 'a', content: { x: 1, toJSON: () => 2 } }, 'content.toJSON'],
  [
    'an array of a class with toJSON',
    {
      id: 'a',
      content: new (class List extends Array {
        toJSON() {
          return 1;
        }
      })(),
    },
    'content',
  ],
  [
    'an object with a hidden toJSON',
    { id: 'a', content: Object.defineProperty({}, 'toJSON', { value: () => 2 }) },
    'content',
  ],
  ['an array with a named property', { id: 'a', content: Object.assign([1], { name: 2 }) }, 'content'],
  ['binary inside JSON', { id: 'a', content: { bytes: new Uint8Array(2) } }, 'content.bytes'],
  ['a circle', { id: 'a', content: circular() }, 'content'],
  ['nesting of 513 levels', { id: 'a', content: nested(513) }, 'content'],
  ['17 MiB of JSON', { id: 'a', content: 'x'.repeat(17 * MIB) }, 'content'],
  ['17 MiB of binary', { id: 'a', content: new Uint8Array(17 * MIB) }, 'content'],
  ['an empty state', { id: 'a', content: 1, state: '' }, 'state'],
  ['a state of 65 bytes', { id: 'a', content: 1, state: 's'.repeat(65) }, 'state'],
  ['a NUL in the state', { id: 'a', content: 1, state: 's\0' }, 'state'],
  ['a traceParent that is none', { id: 'a', content: 1, traceParent: '00-abc' }, 'traceParent'],
  ['ttlMs 0', { id: 'a', content: 1 }, 'ttlMs', { ttlMs: 0 }],
  ['ttlMs with a fraction', { id: 'a', content: 1 }, 'ttlMs', { ttlMs: 1.5 }],
  ['ttlMs as text', { id: 'a', content: 1 }, 'ttlMs', { ttlMs: '5' }],
  ['ttlMs where no copy is made', { id: 'a', content: 1 }, 'ttlMs', { tiers: 'durable', ttlMs: 5 }],
  ['unknown tiers', { id: 'a', content: 1 }, 'tiers', { tiers: 'l2' }],
  ['an unknown option', { id: 'a', content: 1 }, 'options', { ttl: 5 }],
];

for (const [name, item, field, options] of REFUSED) {
  test(`refused at the call, by name: ${name}`, async (t) => {
    const call = store.submit(item as NewItem, options);
    const error = await t.throwsAsync(call, { instanceOf: InvalidItemError, code: 'ERR_INVALID_ITEM' });
    // The path of a circle goes on and on.
    t.true(error?.field.startsWith(field), `${error?.field}: ${error?.reason}`);
    t.true((error?.message.length ?? 0) < 400);
  });
}

test('refused at the call: a bad state, id or list', async (t) => {
  await t.throwsAsync(store.setState('a', ''), { instanceOf: InvalidItemError });
  await t.throwsAsync(store.setState('a', 's'.repeat(65)), { instanceOf: InvalidItemError });
  await t.throwsAsync(store.delete(''), { instanceOf: InvalidItemError });
  await t.throwsAsync(store.get('a\0'), { instanceOf: InvalidItemError });
  await t.throwsAsync(store.status('\ud800'), { instanceOf: InvalidItemError });
  await t.throwsAsync(store.submitMany('abc' as unknown as NewItem[]), { instanceOf: InvalidItemError });
});

/** @throws when another tier answered for one of them */
async function getAllFrom(tier: 'L2' | 'L3', ids: readonly string[]): Promise<(Item | undefined)[]> {
  const reader = await openReader({ ...deployment.options, l1MaxBytes: 0, filterMaxBytes: 0 });
  const items = await reader.getMany(ids);
  const { l2, l3 } = reader.counters;
  await reader.close();
  if ((tier === 'L2' ? l2 : l3).hits !== ids.length) throw new Error(`${tier} did not answer for all`);
  return items;
}

function dropCopies(ids: readonly string[]): Promise<void> {
  return removeEach(
    deployment.redis,
    ids.map((id) => deployment.keys.item(id)),
  );
}

/** deepEqual takes neither `__proto__` nor the order of keys into account; JSON.stringify not -0. */
function exact(value: JsonValue | undefined): string | undefined {
  return JSON.stringify(value, (_, part: unknown) => (Object.is(part, -0) ? '-0!' : part));
}

const EXACT: readonly (readonly [name: string, content: JsonValue | Uint8Array])[] = [
  ['null', null],
  ['false', false],
  ['an empty object', {}],
  ['an empty array', []],
  ['an empty string', ''],
  ['-0', -0],
  ['-0 inside, and a text that looks like one', { n: [-0, 0, '-0'] }],
  ['1e308 and 5e-324', [1e308, 5e-324, Number.MAX_SAFE_INTEGER]],
  ['a lone surrogate', { text: 'a\ud800b', '\udc00': 1 }],
  ['NUL in text and key', { 'a\0': '\0' }],
  [
    '__proto__ as key',
    JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}') as JsonValue,
  ],
  ['unicode keys', { 'ключ ✓ 𝄞': 'значение', '': 'empty key', '\u2028': '\ufeff' }],
  ['keys in their order', { b: 1, a: 2, 10: 3, 9: 4 }],
  ['nesting of 512 levels', nested(512)],
  ['nearly 16 MiB of JSON', 'x'.repeat(16 * MIB - 2)],
  ['nearly 16 MiB of binary', new Uint8Array(16 * MIB - 1).map((_, i) => i % 251)],
  ['no bytes', new Uint8Array()],
  ['all bytes', new Uint8Array(256).map((_, i) => i)],
  ['a view into a Buffer', Buffer.from('0123456789').subarray(3, 7)],
];

for (const [name, content] of EXACT) {
  test(`exact from every tier: ${name}`, async (t) => {
    const id = freshId();
    // A copy that took too long on its way is not kept.
    const isInL2 = async () => {
      await (await store.submit({ id, content })).settled();
      return (await store.lookup(id)).tier === 'l2';
    };
    await eventually(isInL2, 'L2 has a copy', 60_000);
    for (const tier of ['l2', 'l3'] as const) {
      if (tier === 'l3') await deployment.redis.del(deployment.keys.item(id));
      const { item, tier: answered } = await store.lookup(id);
      t.is(answered, tier);
      if (content instanceof Uint8Array) {
        t.true(item?.content instanceof Uint8Array && Buffer.from(content).equals(item.content), tier);
      } else {
        t.true(exact(item?.content as JsonValue) === exact(content), tier);
      }
    }
    t.is(({} as { polluted?: boolean }).polluted, undefined);
  });
}

test('I5: ids of any kind are stored and counted under their prefixes', async (t) => {
  const ids = [
    'i'.repeat(255),
    '✓'.repeat(85),
    '.a',
    '..',
    'a.',
    '.a.b',
    '...',
    '.',
    'a..b',
    '%',
    '_',
    'x%_y',
    '{id}',
    'a{b}c',
    '  ',
    ' a ',
    'line\nbreak',
    '\t',
    '😀.😀',
    "'; DROP TABLE items; --",
    '"',
    '\\',
    '\u007f',
    '\ufeff',
    '__proto__',
    'constructor',
    'CITY',
    'city',
  ];
  const batch = await store.submitMany(ids.map((id) => ({ id, content: { id } })));
  t.is((await batch.settled()).succeeded, ids.length);
  for (const tier of ['L2', 'L3'] as const) {
    if (tier === 'L3') await dropCopies(ids);
    t.deepEqual(
      (await getAllFrom(tier, ids)).map((item) => [item?.id, item?.content]),
      ids.map((id) => [id, { id }]),
    );
  }
  t.is((await store.merkle.prefix('.a')).count, 1, '.a.b');
  t.is((await store.merkle.prefix('a')).count, 2, 'a. and a..b');
  t.is((await store.merkle.prefix('a.')).count, 1, 'a..b');
  t.is((await store.merkle.prefix('😀')).count, 1);
  t.is((await store.merkle.prefix('%')).count, 0);
  t.deepEqual((await store.merkle.verify()).differences, []);
});

test('I1: of an id twice in one call the later one wins, the earlier is superseded', async (t) => {
  const id = freshId();
  const batch = await store.submitMany([
    { id, content: 'earlier' },
    { id: freshId(), content: 'other' },
    { id, content: 'later' },
  ]);
  const { outcomes, succeeded } = await batch.settled();
  t.deepEqual(
    outcomes.map(({ status }) => status),
    ['superseded', 'applied', 'applied'],
  );
  t.is(succeeded, 3);
  t.is((await store.get(id))?.content, 'later');
});

test('submitMany rejects the bad items by index and reason, and accepts the others', async (t) => {
  const good = freshId();
  const batch = await store.submitMany([
    { id: '', content: 1 },
    { id: good, content: 1 },
    { id: 'bad', content: Number.NaN },
    null as unknown as NewItem,
  ]);
  t.is(batch.total, 4);
  t.is(batch.accepted, 1);
  t.deepEqual(
    batch.rejected.map(({ index, id, error }) => [index, id, error.code]),
    [
      [0, '', 'ERR_INVALID_ITEM'],
      [2, 'bad', 'ERR_INVALID_ITEM'],
      [3, '', 'ERR_INVALID_ITEM'],
    ],
  );
  const { total, succeeded, failed } = await batch.settled();
  t.deepEqual({ total, succeeded, failed }, { total: 4, succeeded: 1, failed: 3 });
  t.is((await store.get(good))?.content, 1);
  t.is(await store.get('bad'), undefined);
});

test('an atomic call with one bad item rejects all, the good ones for the company they keep', async (t) => {
  const good = freshId();
  const batch = await store.submitMany(
    [
      { id: good, content: 1 },
      { id: 'x'.repeat(300), content: 1 },
    ],
    { atomic: true },
  );
  t.is(batch.accepted, 0);
  t.true(batch.rejected[0]?.error instanceof AtomicRefusedError);
  t.true(batch.rejected[1]?.error instanceof InvalidItemError);
  t.is((await batch.settled()).failed, 2);
  t.is(await store.get(good), undefined);
});

test('any JSON comes back equal from L2 and from cold L3, and contentHash is SHA-256 of its text', async (t) => {
  const property = fc.asyncProperty(
    fc.array(fc.jsonValue(), { minLength: 1, maxLength: 40 }),
    async (contents) => {
      const ids = contents.map(freshId);
      const batch = await store.submitMany(
        contents.map((content, i) => ({ id: ids[i] as string, content: content as JsonValue })),
      );
      await batch.settled();
      const rows = await deployment.query<{ id: string; text: string }>(
        'SELECT id, content::text AS text FROM items WHERE id = ANY($1::text[])',
        [ids],
      );
      const hashes = new Map(
        rows.map(({ id, text }) => [id, createHash('sha256').update(text).digest('hex')]),
      );
      for (const tier of ['L2', 'L3'] as const) {
        if (tier === 'L3') await dropCopies(ids);
        const items = await getAllFrom(tier, ids);
        t.deepEqual(
          items.map((item) => item?.content),
          contents as JsonValue[],
          tier,
        );
        t.deepEqual(
          items.map((item) => item?.contentHash),
          ids.map((id) => hashes.get(id)),
          tier,
        );
      }
    },
  );
  await fc.assert(property, { numRuns: 25 });
});
