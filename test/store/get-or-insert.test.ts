import { CallGate } from '../../src/call-gate.ts';
import { EventEmitter, once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { InvalidItemError } from '../../src/errors.ts';
import { openStore } from '../../src/store/open-store.ts';
import { GetOrInsert } from '../../src/store/get-or-insert.ts';
import type { Store } from '../../src/types/read.ts';
import { eventually } from '../helpers/eventually.ts';
import { createSetting } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext): Promise<{ a: Store; b: Store }> {
  const { deployment, use, drain } = await createSetting(t);
  await drain();
  return { a: use(await openStore(deployment.options)), b: use(await openStore(deployment.options)) };
}

test('getOrInsertWith: one factory call for all who ask at once; afterwards the item is there', async (t) => {
  const { a, b } = await setUp(t);
  let calls = 0;
  const factory = async () => ({ made: ++calls });
  const items = await Promise.all(
    Array.from({ length: 50 }, () => a.getOrInsertWith('id', factory, { state: 'new' })),
  );
  t.is(calls, 1);
  for (const item of items) t.like(item, { id: 'id', content: { made: 1 }, state: 'new' });
  await a.flush();
  t.like(await b.getOrInsertWith('id', factory), { content: { made: 1 }, state: 'new' });
  t.is(calls, 1);
  await (await a.delete('id')).settled();
  await eventually(async () => (await b.get('id')) === undefined, 'the feed is delivered');
  t.like(await b.getOrInsertWith('id', () => new Uint8Array([7])), {
    content: new Uint8Array([7]),
    state: 'default',
  });
});

test('getOrInsertWith: a failed factory, a failed read and content that cannot be stored reach all who wait, and nothing is written', async (t) => {
  const { a } = await setUp(t);
  const broken = new Error('no data');
  const failures = await Promise.allSettled(
    [1, 2, 3].map(() =>
      a.getOrInsertWith('id', async () => {
        throw broken;
      }),
    ),
  );
  t.true(failures.every((failure) => failure.status === 'rejected' && failure.reason === broken));
  await t.throwsAsync(
    a.getOrInsertWith('id', () => Number.NaN),
    { instanceOf: InvalidItemError },
  );
  t.deepEqual(await a.status('id'), { status: 'missing' });
  t.like(await a.getOrInsertWith('id', () => 'now'), { content: 'now' }, 'the next call tries again');

  const unread = new GetOrInsert(
    a,
    { get: () => Promise.reject(broken) },
    { maxContentBytes: 100 },
    new CallGate('store'),
  );
  let calls = 0;
  await t.throwsAsync(
    unread.run('other', () => ++calls),
    { is: broken },
  );
  t.is(calls, 0);
  t.deepEqual(await a.status('other'), { status: 'missing' });
});

test('getOrInsertWith: two processes that race end with the item of the later stamp', async (t) => {
  const { a, b } = await setUp(t);
  const [left, right] = await Promise.all([
    a.getOrInsertWith('id', () => 'left'),
    b.getOrInsertWith('id', () => 'right'),
  ]);
  t.is(left.id, 'id');
  await a.flush();
  await b.flush();
  const winner = left.version > right.version ? left : right;
  for (const store of [a, b])
    t.like(await store.get('id', { verify: true }), { content: winner.content, version: winner.version });
});

test('getOrInsertWith: a signal frees one caller, the others still get the item', async (t) => {
  const { a } = await setUp(t);
  const control = new EventEmitter();
  const made = once(control, 'made').then(([value]) => value as string);
  const controller = new AbortController();
  const first = a.getOrInsertWith('id', () => made, { signal: controller.signal });
  const second = a.getOrInsertWith('id', () => 'never called');
  controller.abort(new Error('enough'));
  await t.throwsAsync(first, { message: 'enough' });
  control.emit('made', 'made');
  t.like(await second, { content: 'made' });
});
