import test, { type ExecutionContext } from 'ava';
import * as fc from 'fast-check';
import { InvalidItemError } from '../../src/errors.ts';
import { openReader } from '../../src/read/open-reader.ts';
import type { Page } from '../../src/types/call.ts';
import type { Item, Reader } from '../../src/types/read.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { lanesWriterOf } from '../helpers/writer.ts';
import { closing } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext) {
  const deployment = closing(t, await createDeployment());
  const writer = lanesWriterOf(deployment);
  const reader = closing(t, await openReader(deployment.options));
  let stamp = 1;
  return {
    deployment,
    reader,
    async put(...items: { id: string; state?: string; body?: string }[]) {
      const ops: TestOp[] = items.map(({ id, state, body = '1' }) => ({
        id,
        stamp: stamp++,
        kind: 'json',
        body,
        ...(state === undefined ? {} : { state }),
      }));
      for (let at = 0; at < ops.length; at += 500) await writer.write([chunkOf(ops.slice(at, at + 500))]);
    },
    remove: (id: string) => writer.write([chunkOf([{ id, stamp: stamp++, kind: 'delete' }])]),
    setState: (id: string, state: string) =>
      writer.write([chunkOf([{ id, stamp: stamp++, kind: 'state', state }])]),
  };
}

/** Follows `next` to the end. */
async function allPages<T>(fetch: (after: string | undefined) => Promise<Page<T>>): Promise<T[]> {
  const items: T[] = [];
  for (let after: string | undefined; ; ) {
    const page = await fetch(after);
    items.push(...page.items);
    if (page.next === undefined) return items;
    after = page.next;
  }
}

const afterOf = (after: string | undefined) => (after === undefined ? {} : { after });

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

async function collect(items: AsyncIterable<Item>): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of items) ids.push(id);
  return ids;
}

async function prefixAnswers(reader: Reader, prefix: string, limit: number) {
  const paged = await allPages((after) => reader.getByPrefix(prefix, { limit, ...afterOf(after) }));
  return {
    paged: paged.map(({ id }) => id),
    scanned: await collect(reader.scanPrefix(prefix)),
    count: await reader.countPrefix(prefix),
  };
}

test('prefixes are plain text in byte order, whatever characters they hold', async (t) => {
  const { reader, put, remove } = await setUp(t);
  const character = fc.constantFrom(
    'a',
    'b',
    '.',
    '%',
    '_',
    '\\',
    '*',
    '[',
    "'",
    'é',
    '\u{d7ff}',
    '\u{e000}',
    '\u{ffff}',
    '\u{10ffff}',
    '\u{10fffe}',
    '😀',
    ' ',
    '\u0001',
  );
  const id = fc.array(character, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(''));
  const ids = fc.sample(fc.uniqueArray(id, { minLength: 300, maxLength: 300 }), {
    numRuns: 1,
    seed: 7,
  })[0] as string[];
  await put(...ids.map((each) => ({ id: each })));
  const gone = ids.slice(0, 30);
  for (const each of gone) await remove(each);
  const live = ids.slice(30).toSorted(byBytes);
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(id, fc.constantFrom('', ...ids)),
      fc.integer({ min: 1, max: 40 }),
      async (prefix, limit) => {
        const expected = live.filter((each) => each.startsWith(prefix));
        t.deepEqual(await prefixAnswers(reader, prefix, limit), {
          paged: expected,
          scanned: expected,
          count: expected.length,
        });
      },
    ),
    { numRuns: 60 },
  );
});

test('states: pages, ids, scans and counts hold exactly the live items of the state', async (t) => {
  const { reader, put, remove, setState } = await setUp(t);
  await put(
    ...Array.from({ length: 120 }, (_, i) => ({
      id: `i.${String(i).padStart(3, '0')}`,
      state: i % 3 === 0 ? 'open' : 'shut',
    })),
  );
  await remove('i.000');
  await setState('i.001', 'open');
  await setState('i.003', 'shut');
  const open = ['i.001', ...Array.from({ length: 38 }, (_, i) => `i.${String(6 + 3 * i).padStart(3, '0')}`)];
  for (const limit of [1, 7, 39, 40, 1000]) {
    const items = await allPages((after) => reader.getByState('open', { limit, ...afterOf(after) }));
    t.deepEqual(
      items.map((item) => item.id),
      open,
    );
    t.true(items.every((item) => item.state === 'open'));
    t.deepEqual(await allPages((after) => reader.listStateIds('open', { limit, ...afterOf(after) })), open);
  }
  t.deepEqual(await collect(reader.scanState('open')), open);
  t.is(await reader.countByState('open'), open.length);
  t.is(await reader.countByState('shut'), 119 - open.length);
  t.is(await reader.countByState('never seen'), 0);
  t.deepEqual(await reader.getByState('never seen'), { items: [] });
  t.is((await reader.getByState('open', { limit: 39 })).next, undefined, 'no empty page at the end');
});

test('a scan can be taken up in another process, and what it has handed out does not come again', async (t) => {
  const { deployment, reader, put } = await setUp(t);
  const ids = Array.from({ length: 2500 }, (_, i) => `s.${String(i).padStart(4, '0')}`);
  await put(...ids.map((id) => ({ id, state: 'open' })));
  const other = closing(t, await openReader(deployment.options));
  for (const [first, again] of [
    [reader.scanPrefix('s.'), (after: string) => other.scanPrefix('s.', { after })],
    [reader.scanState('open'), (after: string) => other.scanState('open', { after })],
  ] as const) {
    t.is(first.cursor, undefined);
    const seen: string[] = [];
    for await (const { id } of first) {
      seen.push(id);
      if (seen.length === 1234) break;
    }
    t.deepEqual([...seen, ...(await collect(again(first.cursor as string)))], ids);
  }
  const page = await other.getByPrefix('s.', {
    limit: 3,
    after: (await reader.getByPrefix('s.', { limit: 2 })).next as string,
  });
  t.deepEqual(
    page.items.map(({ id }) => id),
    ids.slice(2, 5),
  );
});

test('I8: a cursor of another query, a limit that cannot be and a bad state are refused by name', async (t) => {
  const { reader, put } = await setUp(t);
  await put({ id: 'a.1' }, { id: 'a.2' });
  const { next } = await reader.getByPrefix('a.', { limit: 1 });
  const refused = { instanceOf: InvalidItemError };
  await t.throwsAsync(reader.getByPrefix('b.', { after: next as string }), {
    ...refused,
    message: /cursor of prefix "a\."/,
  });
  await t.throwsAsync(reader.getByState('a.', { after: next as string }), refused);
  for (const after of ['', 'nonsense', Buffer.from('[2,"prefix","a.","x"]').toString('base64url')]) {
    await t.throwsAsync(reader.getByPrefix('a.', { after }), refused);
    t.throws(() => reader.scanPrefix('a.', { after }), refused);
  }
  for (const limit of [0, -1, 1.5, 1001, Number.NaN]) {
    await t.throwsAsync(reader.getByPrefix('a.', { limit }), { ...refused, message: /limit/ });
    await t.throwsAsync(reader.listStateIds('default', { limit }), refused);
  }
  for (const state of ['', 'x'.repeat(65), 'nul\0']) await t.throwsAsync(reader.countByState(state), refused);
  for (const prefix of ['nul\0', '\ud800', 'x'.repeat(256)])
    await t.throwsAsync(reader.countPrefix(prefix), refused);
});

test('I10: a page ends early when its items are large, and never empty', async (t) => {
  const { reader, put } = await setUp(t);
  // Hex of a counter's hashes: Postgres cannot compress it much.
  const large = Array.from({ length: 40_000 }, (_, i) => Math.sin(i).toString(36).slice(3)).join('');
  for (let i = 0; i < 12; i++) await put({ id: `large.${i}`, body: JSON.stringify(large + large + large) });
  const page = await reader.getByPrefix('large.', { limit: 100 });
  t.true(page.items.length >= 1 && page.items.length < 12, `${page.items.length} items`);
  t.not(page.next, undefined);
  t.is((await allPages((after) => reader.getByPrefix('large.', afterOf(after)))).length, 12);
});

test('AbortSignal frees the caller of a query and ends a scan', async (t) => {
  const { reader, put } = await setUp(t);
  await put(...Array.from({ length: 1500 }, (_, i) => ({ id: `s.${i}` })));
  const aborted = AbortSignal.abort(new Error('enough'));
  await t.throwsAsync(reader.getByPrefix('s.', { signal: aborted }), { message: 'enough' });
  await t.throwsAsync(reader.countPrefix('s.', { signal: aborted }), { message: 'enough' });
  const controller = new AbortController();
  let seen = 0;
  await t.throwsAsync(
    async () => {
      for await (const item of reader.scanPrefix('s.', { signal: controller.signal })) {
        if (item.id !== '' && ++seen === 10) controller.abort(new Error('enough'));
      }
    },
    { message: 'enough' },
  );
  t.is(seen, 1000, 'the page in hand is handed out');
});

test('I6: a scan gives out no item of its page that has changed meanwhile', async (t) => {
  const { reader, put, remove, setState } = await setUp(t);
  await put(...['s.1', 's.2', 's.3', 's.4'].map((id) => ({ id, state: 'open', body: '"old"' })));
  const seen: unknown[] = [];
  for await (const { id, content } of reader.scanState('open')) {
    seen.push([id, content]);
    if (id !== 's.1') continue;
    await put({ id: 's.2', body: '"new"' });
    await remove('s.3');
    await setState('s.4', 'shut');
    const settled = async () => (await reader.get('s.4'))?.state === 'shut';
    for (const other of ['s.2', 's.3']) await reader.get(other);
    await eventually(settled, 'the changes are seen by get');
  }
  t.deepEqual(seen, [
    ['s.1', 'old'],
    ['s.2', 'new'],
  ]);
});

test('I6: a query and get never take each other back', async (t) => {
  const { deployment, reader, put } = await setUp(t);
  const { redis, lanes } = deployment;
  const keys = lanes.keysOf('a');
  await put({ id: 'a', body: '"old"' });
  t.like(await reader.get('a'), { content: 'old' });
  // Committed in Postgres, and neither in L2 nor on the feed yet: a batch between its first step and its second.
  await redis.zadd(keys.inflight, 50, 'a chunk in flight');
  await redis.hset(keys.pending, 'a', 100);
  await deployment.query(`UPDATE items SET content = '"new"', content_version = 100 WHERE id = 'a'`);
  t.like((await reader.getByPrefix('a')).items[0], { content: 'new' });
  t.like(await reader.get('a'), { content: 'new' }, 'L1 had the older one');

  const other = closing(t, await openReader(deployment.options));
  for await (const item of other.scanState('default')) t.like(item, { content: 'new' });
  t.like(await other.get('a'), { content: 'new' }, 'L2 may have the older one');
});

test('I10: a page ends by the size of the contents as they are sent, and not as Postgres compresses them', async (t) => {
  const { deployment, reader, put } = await setUp(t);
  const ids = ['i.0', 'i.1', 'i.2', 'i.3', 'i.4'];
  await put(...ids.map((id) => ({ id, body: '"x"' })));
  await deployment.query(`UPDATE items SET content = to_json(repeat('a', 3000000)) WHERE id LIKE 'i.%'`);
  const sizes: number[] = [];
  const seen: string[] = [];
  for (let after: string | undefined; ; ) {
    const { items, next } = await reader.getByPrefix('i.', { ...(after !== undefined && { after }) });
    sizes.push(items.length);
    seen.push(...items.map(({ id }) => id));
    if (next === undefined) break;
    after = next;
  }
  t.deepEqual(seen, ids);
  t.true(Math.max(...sizes) <= 2, String(sizes));
});
