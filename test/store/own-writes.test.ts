import test, { type ExecutionContext } from 'ava';
import type { Operation } from '../../src/schema/job.ts';
import { ChunkTicket } from '../../src/producer/ticket.ts';
import { TrackedChunk } from '../../src/producer/tracked-chunk.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import { RANK_DELETED, RANK_LIVE } from '../../src/schema/register-order.ts';
import { OwnWrites } from '../../src/store/own-writes.ts';
import { createSetting } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext) {
  const setting = await createSetting(t);
  return { ...setting, store: setting.use(await openStore(setting.deployment.options)) };
}

test('I11: an accepted write is read at once, while no worker runs', async (t) => {
  const { deployment, store } = await setUp(t);
  const ticket = await store.submit({ id: 'a', content: { n: 1 }, state: 'open' });
  t.like(await store.get('a'), { content: { n: 1 }, state: 'open', version: ticket.version });
  const binary = await store.submit({ id: 'b', content: new Uint8Array([1, 2]) });
  t.like(await store.get('b'), {
    content: new Uint8Array([1, 2]),
    contentType: 'binary',
    state: 'default',
    version: binary.version,
  });
  await store.submit({ id: 'a', content: { n: 2 } });
  t.like(await store.get('a'), { content: { n: 2 }, state: 'open' }, 'the state of the write before');
  await store.delete('a');
  t.is(await store.get('a'), undefined);
  await store.submit({ id: 'a', content: 3 });
  t.like(await store.get('a'), { content: 3, state: 'default' }, 'a delete takes the state too');
  t.deepEqual(
    (await store.getMany(['b', 'none', 'a'])).map((item) => item?.id),
    ['b', undefined, 'a'],
  );
  t.is((await store.status('a')).status, 'pending');

  const stranger = await openReader(deployment.options);
  t.is(await stranger.get('a'), undefined, 'others see it once it has settled');
  await stranger.close();
});

function submitOf(id: string): Operation {
  return { id, kind: 'putJson', hash: 'h', body: '1', state: 'open' } as unknown as Operation;
}

test('I6 I11: what settled is told, id by id, before the tiers answer for it', (t) => {
  const told: unknown[] = [];
  const own: OwnWrites = new OwnWrites((id, item) => {
    t.is(own.get(id), item, 'still there');
    told.push([id, item.contentVersion, item.stateVersion]);
  });
  const chunk = new TrackedChunk('chunk', 100, 2, 'epoch');
  own.accepted(submitOf('a'), new ChunkTicket('a', chunk, 0));
  own.accepted(submitOf('b'), new ChunkTicket('b', chunk, 1));
  const newer = new TrackedChunk('newer', 200, 1, 'epoch');
  own.accepted(submitOf('b'), new ChunkTicket('b', newer, 0));
  own.settled(chunk);
  t.deepEqual(told, [['a', 100, 100]]);
  t.is(own.get('a'), undefined);
  t.like(own.get('b'), { contentVersion: 200 }, 'a newer write of the id stays');
  own.settled(newer);
  t.deepEqual(told.slice(1), [['b', 200, 200]]);
  t.is(own.size, 0);
});

test('I6 I11: an id stays while an older write of it is on its way: chunks settle in any order', (t) => {
  const told: unknown[] = [];
  const own = new OwnWrites((id, item) => told.push([id, item.contentVersion, item.stateVersion]));
  const older = new TrackedChunk('older', 100, 1, 'epoch');
  const newer = new TrackedChunk('newer', 200, 1, 'epoch');
  const state = { id: 'a', kind: 'setState', state: 'closed' } as unknown as Operation;
  own.accepted(state, new ChunkTicket('a', older, 0));
  own.accepted({ ...submitOf('a'), state: null }, new ChunkTicket('a', newer, 0));
  own.settled(newer);
  t.like(own.get('a'), { state: 'closed', stateVersion: 100, contentVersion: 200 });
  t.deepEqual(told, []);
  own.settled(older);
  t.deepEqual(told, [['a', 200, 100]]);
  t.is(own.size, 0);
});

test('I6 I11: a write that settled before the queue answered is told at once', (t) => {
  const told: unknown[] = [];
  const own = new OwnWrites((id, item) => told.push([id, item.contentVersion]));
  const chunk = new TrackedChunk('chunk', 100, 1, 'epoch');
  chunk.settle({});
  own.accepted(submitOf('a'), new ChunkTicket('a', chunk, 0));
  t.deepEqual(told, [['a', 100]]);
  t.is(own.size, 0);
});

test('I6: an own write that the feed showed to have lost is given out no more, register by register', (t) => {
  const own = new OwnWrites(() => undefined);
  const chunk = new TrackedChunk('chunk', 100, 1, 'epoch');
  own.accepted(submitOf('a'), new ChunkTicket('a', chunk, 0));
  own.announced('a', { contentVersion: 90, stateVersion: 0 });
  t.like(own.get('a'), { contentVersion: 100, stateVersion: 100, state: 'open' });
  own.announced('a', { contentVersion: 200, stateVersion: 0 });
  t.like(own.get('a'), { contentVersion: 0, body: '', stateVersion: 100, state: 'open' });
  own.announced('a', { contentVersion: 200, stateVersion: 300 });
  t.like(own.get('a'), { contentVersion: 0, stateVersion: 0 });
  own.announced('b', { contentVersion: 200, stateVersion: 300 });
  t.is(own.get('b'), undefined);
  own.settled(chunk);
  t.is(own.size, 0);
});

test('I6: an own write of the stamp that the feed tells of has lost only against another value', (t) => {
  const own = new OwnWrites(() => undefined);
  const chunk = new TrackedChunk('chunk', 100, 1, 'epoch');
  own.accepted({ ...submitOf('a'), hash: 'ab'.repeat(32) }, new ChunkTicket('a', chunk, 0));
  own.announced('a', { contentVersion: 100, stateVersion: 100 });
  own.announced('a', { contentVersion: 100, stateVersion: 100, contentRank: RANK_LIVE, state: 'closed' });
  t.like(own.get('a'), { contentVersion: 100, stateVersion: 100 });
  own.announced('a', { contentVersion: 100, stateVersion: 100, state: 'p' });
  t.like(own.get('a'), { contentVersion: 100, stateVersion: 0 });
  own.announced('a', { contentVersion: 100, stateVersion: 0, contentRank: RANK_DELETED });
  t.like(own.get('a'), { contentVersion: 0, stateVersion: 0 });
});

test('I11: pending writes lie over what the tiers have, register by register', async (t) => {
  const { store, drain } = await setUp(t);
  const worker = await drain();
  await (await store.submit({ id: 'a', content: 'stored', state: 'open' })).settled();
  await (await store.submit({ id: 'b', content: 'stored', state: 'open' })).settled();
  await worker.close();
  await store.setState('a', 'closed');
  t.like(await store.get('a'), { content: 'stored', state: 'closed' });
  await store.submit({ id: 'b', content: 'newer' });
  t.like(await store.get('b'), { content: 'newer', state: 'open' });
  await store.setState('none', 'open');
  t.is(await store.get('none'), undefined, 'a state makes no item');
  await store.delete('b');
  t.is(await store.get('b'), undefined);
});

test('I11: once settled the tiers answer, with the same', async (t) => {
  const { deployment, store, drain } = await setUp(t);
  const kept = await store.submit({ id: 'a', content: 1 });
  await store.setState('a', 'open');
  await store.submit({ id: 'gone', content: 1 });
  await store.delete('gone');
  const before = await store.get('a');
  await drain();
  await store.flush();
  t.deepEqual(await store.get('a'), before);
  t.true((before?.version ?? 0) > kept.version);
  t.is(await store.get('gone'), undefined);
  t.like(await store.status('a'), { status: 'synced', inL2: true, inL3: true });
  t.like(await store.status('gone'), { status: 'missing' });
  // The tiers and no memory of its own: another process's write is seen.
  const other = await openStore(deployment.options);
  await (await other.submit({ id: 'a', content: 2 })).settled();
  await other.close();
  t.is((await store.get('a'))?.content, 2);
});

test('I6 I11: reads never go back while writes of one id settle one after another', async (t) => {
  const { store, drain } = await setUp(t);
  await drain();
  let newest = 0;
  for (let i = 1; i <= 200; i++) {
    await store.submit({ id: 'a', content: i });
    const item = await store.get('a');
    t.is(item?.content, i);
    t.true((item?.version ?? 0) > newest);
    newest = item?.version ?? 0;
  }
});
