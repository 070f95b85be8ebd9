import test, { type ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { PeerRefusedError } from '../../src/errors.ts';
import { openLocalPeer } from '../../src/peers/local-peer.ts';
import { repair } from '../../src/merkle/repair.ts';
import { openStore } from '../../src/store/open-store.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { storedRows } from '../helpers/stored-rows.ts';
import { writerOf } from '../helpers/writer.ts';

async function openSide(t: ExecutionContext, options: Options = {}) {
  const deployment = await createDeployment({ partitions: 1, ...options });
  const [peer, drain] = await Promise.all([
    openLocalPeer(deployment.options),
    startDrain(deployment.options),
  ]);
  t.teardown(async () => {
    await Promise.all([peer.close(), drain.close()]);
    await deployment.close();
  });
  return { deployment, peer };
}

async function openSides(t: ExecutionContext, options?: Options) {
  const [here, there] = await Promise.all([openSide(t), openSide(t, options)]);
  return { here, there };
}

async function write(deployment: Deployment, ops: readonly TestOp[]): Promise<void> {
  for (const op of ops) await writerOf(deployment).write([chunkOf([op])]);
}

const now = () => Date.now() * 1000;
const json = (id: string, stamp: number, body = '1'): TestOp => ({ id, stamp, kind: 'json', body });

test('I1: a write made after a row of a peer was read wins, although the clock of the peer is ahead', async (t) => {
  const { here, there } = await openSides(t);
  const ahead = now() + 40_000_000;
  await write(there.deployment, [json('a', ahead)]);
  t.true((await repair(here.peer, there.peer)).equal);
  const store = await openStore(here.deployment.options);
  t.teardown(() => store.close());
  t.is((await store.get('a'))?.version, ahead);
  const ticket = await store.submit({ id: 'a', content: 'after' });
  t.true(ticket.version > ahead);
  t.is((await ticket.settled()).status, 'applied');
  t.true((await repair(here.peer, there.peer)).equal);
  t.is((await there.peer.rows(['a'])).rows[0]?.body, '"after"');
});

test('stamps too far ahead are refused and told, the other rows are moved, and the clock stays', async (t) => {
  const { here, there } = await openSides(t);
  const ahead = now() + 600_000_000;
  await write(there.deployment, [json('a', now()), json('far', ahead), json('z', now())]);
  const result = await repair(here.peer, there.peer);
  t.like(result, { equal: false, left: 1, pulled: { rows: 2 }, reason: 'rows were refused' });
  t.is(result.refused.length, 1);
  t.like(result.refused[0], { id: 'far', side: 'here' });
  t.regex(result.refused[0]?.reason ?? '', /ahead of the clock.*TIERLINE_MAX_CLOCK_SKEW_MS/);
  const store = await openStore(here.deployment.options);
  t.teardown(() => store.close());
  t.true((await store.submit({ id: 'b', content: 1 })).version < ahead);
});

test('I8: a row that is not what its digest says is refused', async (t) => {
  const { here, there } = await openSides(t);
  await write(there.deployment, [json('a', now()), json('b', now())]);
  const { rows } = await there.peer.rows(['a', 'b']);
  const [a, b] = rows as [(typeof rows)[0], (typeof rows)[0]];
  const [content, digest] = await here.peer.accept([
    { ...a, body: '2' },
    { ...b, contentVersion: b.contentVersion + 1 },
  ]);
  t.like(content, { id: 'a', status: 'refused', reason: 'its content does not match its hash' });
  t.like(digest, { id: 'b', status: 'refused', reason: 'its digest is not that of its registers' });
  t.deepEqual(await storedRows(here.deployment.pool), []);
});

test('a direction moves one way only, and a dry run nothing', async (t) => {
  const { here, there } = await openSides(t);
  await write(here.deployment, [json('own', now()), json('both', now() - 1000)]);
  await write(there.deployment, [json('theirs', now()), { id: 'both', stamp: now(), kind: 'delete' }]);
  const counts = { pulled: { rows: 2 }, pushed: { rows: 1 } };
  t.like(await repair(here.peer, there.peer, { dryRun: true }), { ...counts, equal: false, left: 3 });
  t.is((await storedRows(here.deployment.pool)).length, 2);
  const pulled = await repair(here.peer, there.peer, { direction: 'pull' });
  t.like(pulled, { pulled: { rows: 2 }, pushed: { rows: 0 }, equal: false, left: 1 });
  t.regex(pulled.reason ?? '', /newer on the side/);
  const pushed = await repair(here.peer, there.peer, { direction: 'push' });
  t.like(pushed, { pulled: { rows: 0 }, pushed: { rows: 1 }, equal: true, left: 0 });
  t.deepEqual(await storedRows(here.deployment.pool), await storedRows(there.deployment.pool));
});

test('other numbers of partitions and large contents are no obstacle', async (t) => {
  const { here, there } = await openSides(t, { partitions: 8 });
  const large = `"${'x'.repeat(3 * 1024 * 1024)}"`;
  const ids = Array.from({ length: 2500 }, (_, i) => `small.${i}`);
  const first = now() - 10_000;
  await writerOf(here.deployment).write([
    chunkOf(
      ids.map((id, i): TestOp => ({ id, stamp: first + i, kind: 'json', body: String(i), state: 'new' })),
    ),
  ]);
  await write(
    here.deployment,
    ['x', 'y', 'z'].map((id, i) => json(id, first + i, large)),
  );
  const told: number[] = [];
  const result = await repair(here.peer, there.peer, { onProgress: ({ pushed }) => told.push(pushed.rows) });
  t.like(result, { equal: true, left: 0, pushed: { rows: 2503 }, pulled: { rows: 0 } });
  t.true(result.pushed.bytes > 9 * 1024 * 1024);
  t.true(told.length >= 3 && told.every((rows, i) => rows >= (told[i - 1] ?? 0)), told.join());
  t.deepEqual(await storedRows(there.deployment.pool), await storedRows(here.deployment.pool));
});

test.serial('a repair that was cut off is finished by the next one', async (t) => {
  const { here, there } = await openSides(t);
  // More than are moved at once.
  const ids = Array.from({ length: 12_000 }, (_, i) => `id.${i}`);
  const first = now() - 10_000;
  await writerOf(here.deployment).write([chunkOf(ids.map((id, i) => json(id, first + i)))]);
  const abort = new AbortController();
  const cut = repair(here.peer, there.peer, {
    signal: abort.signal,
    onProgress: () => abort.abort(new Error('cut off')),
  });
  await t.throwsAsync(cut, { message: 'cut off' });
  const before = (await storedRows(there.deployment.pool)).length;
  t.true(before > 0 && before < ids.length);
  const result = await repair(here.peer, there.peer);
  t.like(result, { equal: true, pushed: { rows: ids.length - before } });
});

test('a repair moves no more rows a second than it may', async (t) => {
  const { here, there } = await openSides(t);
  const rate = 300;
  const ids = Array.from({ length: 2 * rate }, (_, i) => `id.${i}`);
  const first = now() - 10_000;
  await writerOf(here.deployment).write([chunkOf(ids.map((id, i) => json(id, first + i)))]);
  const startedAt = performance.now();
  t.like(await repair(here.peer, there.peer, { rate }), { equal: true, pushed: { rows: ids.length } });
  const seconds = (performance.now() - startedAt) / 1000;
  // The rows of the first second may go at once.
  t.true(ids.length <= rate * (1 + seconds), `${ids.length} rows in ${seconds} s`);
});

test.serial(
  'I8: a side that fails ends the repair with its error once nothing is under way any more',
  async (t) => {
    const { here, there } = await openSides(t);
    const ids = Array.from({ length: 10_000 }, (_, i) => `id.${i}`);
    const first = now() - 10_000;
    await writerOf(here.deployment).write([chunkOf(ids.map((id, i) => json(id, first + i)))]);
    let calls = 0;
    let underWay = 0;
    const accept = there.peer.accept.bind(there.peer);
    there.peer.accept = async (rows) => {
      if (++calls === 2) throw new Error('the second handover fails');
      underWay++;
      const fates = await accept(rows);
      underWay--;
      return fates;
    };
    await t.throwsAsync(repair(here.peer, there.peer), { message: 'the second handover fails' });
    t.is(underWay, 0);
    t.true(calls < 10, 'no batch begins after the error');
    t.like(await repair(here.peer, there.peer), { equal: true, left: 0 });
  },
);

test('deployments that cannot be compared are refused before anything is moved', async (t) => {
  const { here, there } = await openSides(t, { merkleKey: 'another key of 32 characters ....' });
  await write(there.deployment, [json('a', now())]);
  const refused = { instanceOf: PeerRefusedError };
  const { message } = await t.throwsAsync(repair(here.peer, there.peer), refused);
  t.regex(message, /TIERLINE_MERKLE_KEY/);
  t.regex((await t.throwsAsync(repair(here.peer, here.peer), refused)).message, /same deployment/);
  t.deepEqual(await storedRows(here.deployment.pool), []);
});
