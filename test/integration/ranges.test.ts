import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { InvalidItemError } from '../../src/errors.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/types/read.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { chunkOf } from '../helpers/operations.ts';
import { writerOf } from '../helpers/writer.ts';
import { createSetting } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext) {
  const setting = await createSetting(t, ONE_LANE);
  await setting.drain();
  return { ...setting, store: setting.use(await openStore(setting.deployment.options)) };
}

async function put(store: Store, ids: readonly string[], state?: string): Promise<void> {
  await store.submitMany(
    ids.map((id) => ({ id, content: id })),
    state === undefined ? {} : { state },
  );
}

async function present(store: Store, ids: readonly string[]): Promise<string[]> {
  return (await store.getMany(ids)).flatMap((item) => (item === undefined ? [] : [item.id]));
}

test('deletePrefix takes wildcards, case, unicode and bytes as plain text, and counts exactly (I2, I5)', async (t) => {
  const { deployment, store } = await setUp(t);
  const cases: [prefix: string, inside: string[], outside: string[]][] = [
    ['p%', ['p%', 'p%1'], ['p', 'px', 'P%1']],
    ['u_', ['u_', 'u_1'], ['u', 'ux1']],
    ['b\\', ['b\\', 'b\\1'], ['b', 'b/1']],
    ['d.e.', ['d.e.', 'd.e.f', 'd.e..'], ['d.e', 'd.ef', 'd.e/']],
    ['é', ['é', 'é1', 'é\u{10ffff}'], ['e', 'ê', 'è']],
    ['\u{10ffff}', ['\u{10ffff}', '\u{10ffff}z'], ['\u{10fffe}']],
    ['\ud7ff', ['\ud7ff', '\ud7ffa'], ['\ud7fe', '\ue000']],
    ['q\'"', ['q\'"', 'q\'"; DROP TABLE items'], ["q'"]],
  ];
  for (const [prefix, inside, outside] of cases) {
    await put(store, [...inside, ...outside]);
    const { deleted } = await (await store.deletePrefix(prefix)).settled();
    t.is(deleted, inside.length, prefix);
    t.deepEqual(await present(store, [...inside, ...outside]), outside, prefix);
    t.is((await (await store.deletePrefix(prefix)).settled()).deleted, 0, 'a second time nothing is live');
  }
  t.deepEqual(await verifyMerkle(deployment.pool), { ok: true, differences: [] });
});

test('deleteByState deletes what has the state, also the default one, in more than one batch', async (t) => {
  const { deployment, store } = await setUp(t);
  const open = Array.from({ length: 4500 }, (_, i) => `s.${i}`);
  await put(store, open, 'open');
  await put(store, ['t.1', 't.2']);
  await put(store, ['t.3'], 'done');
  await store.setState('t.2', 'open');
  const { deleted } = await (await store.deleteByState('open')).settled();
  t.is(deleted, open.length + 1);
  t.deepEqual(await present(store, [...open, 't.1', 't.2', 't.3']), ['t.1', 't.3']);
  t.is((await (await store.deleteByState('default')).settled()).deleted, 1);
  t.deepEqual(await present(store, ['t.1', 't.3']), ['t.3']);
  t.deepEqual(await verifyMerkle(deployment.pool), { ok: true, differences: [] });
});

test('I1: writes submitted before a range delete end in it, writes submitted after survive, awaited or not', async (t) => {
  const { store } = await setUp(t);
  const before = store.submit({ id: 'o.before', content: 1 });
  const range = store.deletePrefix('o.');
  const after = store.submit({ id: 'o.after', content: 2 });
  await Promise.all([before, after]);
  t.is((await (await range).settled()).deleted, 1);
  await store.flush();
  t.deepEqual(await present(store, ['o.before', 'o.after']), ['o.after']);
  await put(store, ['o.before']);
  await store.flush();
  t.deepEqual(await present(store, ['o.before']), ['o.before']);
});

test('what could delete everything, or names nothing, is refused at the call', async (t) => {
  const { store } = await setUp(t);
  for (const prefix of ['', 'a\0', '\ud800', 'x'.repeat(256)]) {
    await t.throwsAsync(store.deletePrefix(prefix), { instanceOf: InvalidItemError });
  }
  for (const state of ['', 'x'.repeat(65)]) {
    await t.throwsAsync(store.deleteByState(state), { instanceOf: InvalidItemError });
  }
});

test('setState waits for an earlier write of its item instead of calling it missing', async (t) => {
  const deployment = await createDeployment(ONE_LANE);
  t.teardown(() => deployment.close());
  const { redis, keys } = deployment;
  const writer = writerOf(deployment);
  const stamp = 1_795_000_000_000_000;
  const content = chunkOf([{ kind: 'json', id: 'late', stamp, body: '1' }]);
  const state = chunkOf([{ kind: 'state', id: 'late', stamp: stamp + 1, state: 'open' }]);
  await redis.zadd(keys.inflight, stamp, content.chunkId, stamp + 1, state.chunkId);

  t.deepEqual(
    await writer.write([state]),
    [{ chunks: stamp + 1, ranges: 0 }],
    'its content may be on the way',
  );
  t.deepEqual(await writer.write([content]), ['settled']);
  t.deepEqual(await writer.write([state]), ['settled']);
  const entries = await redis.xrange(keys.feed, '-', '+');
  const jobs = entries.map(([, fields]) => fields[fields.indexOf('jobs') + 1]);
  t.is(jobs.at(-1), JSON.stringify([[state.chunkId, 1]]), 'applied, not missing');
});

test('setState of an item that nothing brings is missing, and leaves no item behind', async (t) => {
  const { deployment, store } = await setUp(t);
  const id = randomUUID();
  t.is((await (await store.setState(id, 'open')).settled()).status, 'missing');
  t.is(await store.get(id), undefined);
  t.is((await store.merkle.root()).count, 0);
  await (await store.submit({ id, content: 1 })).settled();
  t.is((await store.get(id))?.state, 'open', 'the state was kept for the content that came later');
  t.is((await (await store.setState(id, 'done')).settled()).status, 'applied');
  t.is((await store.get(id))?.state, 'done');
  t.deepEqual(await verifyMerkle(deployment.pool), { ok: true, differences: [] });
});
