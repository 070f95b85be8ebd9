import test from 'ava';
import { ClosedError, ConfigError, InvalidItemError } from '../../src/errors.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { CallOptions } from '../../src/types/call.ts';
import type { MerklePeer } from '../../src/types/merkle.ts';
import type { Store } from '../../src/types/read.ts';
import type { NewItem, Ticket } from '../../src/types/write.ts';
import { createDeployment } from '../helpers/deployment.ts';

const deployment = await createDeployment();
const store = await openStore(deployment.options);
const drain = await startDrain(deployment.options);
test.after.always(async () => {
  await store.close();
  await drain.close();
  await deployment.close();
});

const boom = () => {
  throw new RangeError('boom');
};
/** A getter that gives `first`, and `later` from then on. */
function changing(first: unknown, later: unknown): PropertyDescriptor {
  let reads = 0;
  return { get: () => (reads++ === 0 ? first : later), enumerable: true, configurable: true };
}

/** Every call that gives a promise, with options of its own. */
type Call = (store: Store, options?: CallOptions) => Promise<unknown>;
const CALLS: Readonly<Record<string, Call>> = {
  submit: (s, o) => s.submit({ id: 'a', content: 1 }, o),
  submitMany: (s, o) => s.submitMany([{ id: 'a', content: 1 }], o),
  'submitMany of nothing': (s, o) => s.submitMany([], o),
  'submitMany of one bad item': (s, o) => s.submitMany([{ id: '', content: 1 }], o),
  delete: (s, o) => s.delete('nobody', o),
  deleteMany: (s, o) => s.deleteMany(['nobody'], o),
  'deleteMany of nothing': (s, o) => s.deleteMany([], o),
  'deleteMany of bad ids': (s, o) => s.deleteMany([''], o),
  setState: (s, o) => s.setState('nobody', 'x', o),
  deleteByState: (s, o) => s.deleteByState('no such state', o),
  deletePrefix: (s, o) => s.deletePrefix('no such prefix', o),
  flush: (s, o) => s.flush(o),
  get: (s, o) => s.get('a', o),
  lookup: (s, o) => s.lookup('a', o),
  getMany: (s, o) => s.getMany(['a'], o),
  'getMany of nothing': (s, o) => s.getMany([], o),
  contains: (s, o) => s.contains('a', o),
  isCurrent: (s, o) => s.isCurrent('a', 'hash', o),
  status: (s, o) => s.status('a', o),
  getByState: (s, o) => s.getByState('x', o),
  countByState: (s, o) => s.countByState('x', o),
  listStateIds: (s, o) => s.listStateIds('x', o),
  getByPrefix: (s, o) => s.getByPrefix('x', o),
  countPrefix: (s, o) => s.countPrefix('x', o),
  scanState: (s, o) => drained(() => s.scanState('x', o)),
  scanPrefix: (s, o) => drained(() => s.scanPrefix('x', o)),
  health: (s, o) => s.health(o),
  'merkle.root': (s, o) => s.merkle.root(o),
  'merkle.prefix': (s, o) => s.merkle.prefix('x', o),
  'merkle.children': (s, o) => s.merkle.children('x', o),
  'merkle.leaves': (s, o) => s.merkle.leaves(o),
  'merkle.leafItems': (s, o) => s.merkle.leafItems([], o),
  'merkle.itemsOf': (s, o) => s.merkle.itemsOf([], o),
  'merkle.verify': (s, o) => s.merkle.verify(o),
  'merkle.diff': (s, o) => s.merkle.diff(s.merkle, o),
  getOrInsertWith: (s, o) => s.getOrInsertWith('a', () => 1, o),
};
/** Those that give none. */
const SYNCHRONOUS: Readonly<Record<string, (store: Store, id: string) => unknown>> = {
  peek: (s, id) => s.peek(id),
  mightExist: (s, id) => s.mightExist(id),
  definitelyMissing: (s, id) => s.definitelyMissing(id),
  scanState: (s, state) => s.scanState(state),
  scanPrefix: (s, prefix) => s.scanPrefix(prefix),
};

async function drained(scan: () => AsyncIterable<unknown>): Promise<void> {
  for await (const _ of scan());
}

test('I8: after close every call says that it was closed, also one of nothing', async (t) => {
  const closed = await openStore(deployment.options);
  const scan = closed.scanPrefix('');
  await closed.close();
  for (const [name, call] of Object.entries(CALLS)) {
    await t.throwsAsync(call(closed), { instanceOf: ClosedError }, name);
  }
  t.throws(() => closed.scanState('a'), { instanceOf: ClosedError });
  t.throws(() => closed.scanPrefix('a'), { instanceOf: ClosedError });
  // Those that ask nobody say nothing any more, which is true.
  t.deepEqual(
    [closed.peek('a'), closed.mightExist('a'), closed.definitelyMissing('a')],
    [undefined, true, false],
  );
  await t.throwsAsync(
    drained(() => scan),
    { instanceOf: ClosedError },
    'a scan that began before',
  );
});

test('an aborted signal ends every call with its reason, also one of nothing', async (t) => {
  const signal = AbortSignal.abort(new Error('enough'));
  for (const [name, call] of Object.entries(CALLS)) {
    await t.throwsAsync(call(store, { signal }), { message: 'enough' }, name);
  }
});

test('an option that a call does not know is refused, by every call, with the nearest that it knows', async (t) => {
  for (const [name, call] of Object.entries(CALLS)) {
    const error = await t.throwsAsync(
      call(store, { sgnal: 1 } as CallOptions),
      {
        instanceOf: InvalidItemError,
      },
      name,
    );
    t.regex(error?.message ?? '', /^options: sgnal .*did you mean signal\?/, name);
    for (const odd of [null, 5, 'signal', []]) {
      await t.throwsAsync(call(store, odd as CallOptions), { instanceOf: InvalidItemError }, name);
    }
    const getter = Object.defineProperty({}, 'signal', { get: boom, enumerable: true });
    await t.throwsAsync(call(store, getter), { instanceOf: InvalidItemError }, name);
  }
});

const MISSPELT: readonly (readonly [
  name: string,
  nearest: string | undefined,
  call: () => Promise<unknown>,
])[] = [
  ['deleteMany({ atomc })', 'atomic', () => store.deleteMany(['a'], { atomc: true } as object)],
  ['submitMany({ atomc })', 'atomic', () => store.submitMany([], { atomc: true } as object)],
  ['getByPrefix({ limt })', 'limit', () => store.getByPrefix('a', { limt: 1 } as object)],
  ['get({ verfy })', 'verify', () => store.get('a', { verfy: true } as object)],
  ['submit({ ttlms })', 'ttlMs', () => store.submit({ id: 'a', content: 1 }, { ttlms: 1 } as object)],
  ['submit({ atomic })', undefined, () => store.submit({ id: 'a', content: 1 }, { atomic: true } as object)],
  ['isCurrent({ verify })', undefined, () => store.isCurrent('a', 'h', { verify: true } as object)],
  ['scanPrefix({ limit })', undefined, () => drained(() => store.scanPrefix('a', { limit: 1 } as object))],
  ['flush({ timeoutms })', 'timeoutMs', () => store.flush({ timeoutms: 1 } as object)],
  [
    'merkle.diff({ recheckms })',
    'recheckMs',
    () => store.merkle.diff(store.merkle, { recheckms: 1 } as object),
  ],
];
for (const [name, nearest, call] of MISSPELT) {
  test(`refused by name: ${name}`, async (t) => {
    const error = await t.throwsAsync(call(), { instanceOf: InvalidItemError });
    t.is(/did you mean (\w+)\?/.exec(error?.message ?? '')?.[1], nearest, error?.message);
  });
}

test('tickets refuse what they do not know, and times that are none', async (t) => {
  const tickets: readonly Pick<Ticket, 'settled'>[] = [
    await store.submit({ id: 'ticket', content: 1 }),
    (await store.submitMany([{ id: 'ticket', content: 1 }])) as object as Ticket,
    (await store.deletePrefix('no such prefix')) as object as Ticket,
  ];
  for (const ticket of tickets) {
    const error = await t.throwsAsync(ticket.settled({ timeout: 5 } as object), {
      instanceOf: InvalidItemError,
    });
    t.regex(error?.message ?? '', /did you mean timeoutMs\?/);
    for (const timeoutMs of [-1, Number.NaN, '5' as unknown as number]) {
      await t.throwsAsync(ticket.settled({ timeoutMs }), { instanceOf: InvalidItemError });
    }
    await ticket.settled({ timeoutMs: Number.POSITIVE_INFINITY });
  }
});

test('what opens refuses options that are none, and those that cannot be read', async (t) => {
  for (const open of [openProducer, openReader, openStore, startDrain]) {
    const wrong = [
      null,
      'redis',
      { ...deployment.options, sgnal: 1 },
      { ...deployment.options, signal: 5 },
      Object.defineProperty({}, 'redisUrl', { get: boom, enumerable: true }),
    ];
    for (const options of wrong) {
      await t.throwsAsync(open(options as object), { instanceOf: ConfigError }, open.name);
    }
  }
});

test('synchronous calls refuse what cannot be an id by name', (t) => {
  for (const id of [undefined, null, 7, '', 'a\0', {}] as unknown as string[]) {
    for (const [name, call] of Object.entries(SYNCHRONOUS)) {
      // The prefix of all ids.
      if (name === 'scanPrefix' && id === '') continue;
      t.throws(() => call(store, id), { instanceOf: InvalidItemError }, `${name} ${id}`);
    }
  }
});

test('arguments of the wrong kind are refused by name', async (t) => {
  const nothing = undefined as never;
  const refused: Record<string, () => Promise<unknown>> = {
    'isCurrent without a hash': () => store.isCurrent('nobody', nothing),
    'getOrInsertWith without a factory': () => store.getOrInsertWith('nobody', nothing),
    'getOrInsertWith with a bad state': () => store.getOrInsertWith('nobody', boom, { state: '' }),
    'getMany of text': () => store.getMany('abc' as never),
    'getMany with a hole': () => store.getMany(Array.from({ length: 2 })),
    'deleteMany of text': () => store.deleteMany('abc' as never),
    'diff without a peer': () => store.merkle.diff(nothing),
    'diff with half a peer': () => store.merkle.diff({ root: boom } as unknown as MerklePeer),
    'merkle.prefix of nothing': () => store.merkle.prefix(nothing),
    'merkle.leafItems of nothing': () => store.merkle.leafItems(nothing),
    'merkle.itemsOf of nothing': () => store.merkle.itemsOf(nothing),
  };
  for (const [name, call] of Object.entries(refused)) {
    await t.throwsAsync(call(), { instanceOf: InvalidItemError }, name);
  }
});

const proxy = (traps: object) => new Proxy({}, traps);
const item = (id: string): NewItem => ({ id, content: 1 });

/** Items of which reading one part throws. */
function unreadable(): [name: string, item: unknown][] {
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  return [
    ['a getter for the id', Object.defineProperty({ content: 1 }, 'id', { get: boom, enumerable: true })],
    [
      'a getter for the content',
      Object.defineProperty({ id: 'x' }, 'content', { get: boom, enumerable: true }),
    ],
    [
      'a getter in the content',
      { id: 'x', content: Object.defineProperty({}, 'deep', { get: boom, enumerable: true }) },
    ],
    ['a getter in an array', { id: 'x', content: Object.defineProperty([1], 0, { get: boom }) }],
    ['a toJSON that throws', { id: 'x', content: { toJSON: boom } }],
    ['a getter for toJSON', { id: 'x', content: Object.defineProperty({}, 'toJSON', { get: boom }) }],
    ['a proxy with no keys to give', { id: 'x', content: proxy({ ownKeys: boom }) }],
    ['a proxy with no prototype to give', { id: 'x', content: proxy({ getPrototypeOf: boom }) }],
    ['a revoked proxy', revoked.proxy],
    ['a revoked proxy as content', { id: 'x', content: revoked.proxy }],
    ['what only looks like bytes', { id: 'x', content: Object.create(Uint8Array.prototype) as unknown }],
  ];
}

test('I9: an item that throws when it is read rejects only itself', async (t) => {
  for (const [name, bad] of unreadable()) {
    const error = await t.throwsAsync(store.submit(bad as NewItem), { instanceOf: InvalidItemError }, name);
    t.true((error?.message.length ?? 0) > 5);
    const batch = await store.submitMany([{ id: 'good', content: name }, bad as NewItem]);
    t.deepEqual([batch.accepted, batch.rejected.map(({ index }) => index)], [1, [1]], name);
    t.is((await store.get('good'))?.content, name);
  }
});

test('I9: a list that throws, has holes or changes while it is read rejects only those places', async (t) => {
  const throwing = Object.defineProperty([item('l.1'), item('l.2')], 0, { get: boom });
  const holes = [item('l.3')];
  holes[2] = item('l.4');
  const shrinking = [item('l.5'), item('l.6'), item('l.7')];
  Object.defineProperty(shrinking, 0, {
    get: () => {
      shrinking.length = 2;
      return item('l.5');
    },
  });
  for (const [list, total, bad] of [
    [throwing, 2, [0]],
    [holes, 3, [1]],
    [shrinking, 3, [2]],
  ] as const) {
    const batch = await store.submitMany(list);
    t.deepEqual([batch.total, batch.rejected.map(({ index }) => index)], [total, [...bad]]);
    t.is(batch.accepted, total - bad.length);
  }
  const ids = ['l.1', 7, Symbol('x'), null, {}, 'l.2'] as string[];
  const deleted = await store.deleteMany(ids);
  t.deepEqual(
    deleted.rejected.map(({ index, error }) => [index, error instanceof InvalidItemError]),
    [1, 2, 3, 4].map((index) => [index, true]),
  );
  await t.throwsAsync(store.submitMany(new Proxy([item('l.8')], { get: boom })), {
    instanceOf: InvalidItemError,
  });
});

test('a list of ids that the caller changes after the call still answers what was asked', async (t) => {
  await store.submitMany([
    { id: 'list.a', content: 'a' },
    { id: 'list.b', content: 'b' },
  ]);
  await store.flush();
  const reader = await openReader(deployment.options);
  t.teardown(() => reader.close());
  const ids = ['list.a', 'list.b'];
  const asked = reader.getMany(ids);
  ids.reverse();
  ids.length = 1;
  t.deepEqual(
    (await asked).map((item) => item?.content),
    ['a', 'b'],
  );
});

test('what was validated is what is stored: each part of an item is read once', async (t) => {
  const changed: Record<string, unknown> = {
    'a number that becomes NaN': Object.defineProperty({ z: 1 }, 'n', changing(1, Number.NaN)),
    'a value that goes': Object.defineProperty({ z: 1 }, 'n', changing(1, undefined)),
    'a value that becomes a Map': Object.defineProperty({ z: 1 }, 'n', changing(1, new Map())),
    'one inside an array': { z: 1, n: Object.defineProperty([1], 0, changing(1, Number.NaN)) },
    'one with toJSON later': Object.defineProperty({ z: 1 }, 'n', changing(1, { toJSON: () => 'no' })),
  };
  for (const [name, content] of Object.entries(changed)) {
    const ticket = await store.submit({ id: 'once', content: content as NewItem['content'] });
    t.like(await ticket.settled(), { status: 'applied' }, name);
    const n = name === 'one inside an array' ? [1] : 1;
    t.deepEqual((await store.get('once'))?.content, { z: 1, n }, name);
  }
  const ids = Object.defineProperty({ content: 1 }, 'id', changing('first', 'a\0')) as NewItem;
  t.is((await store.submit(ids)).id, 'first');
  const inserted = Object.defineProperty({ z: 1 }, 'n', changing(1, Number.NaN)) as NewItem['content'];
  t.deepEqual((await store.getOrInsertWith('inserted', () => inserted)).content, { z: 1, n: 1 });
});
