import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { within } from '../../src/abortable.ts';
import { ConfigError, PeerRefusedError, PeerUnavailableError } from '../../src/errors.ts';
import { openPeer } from '../../src/peers/http-peer.ts';
import { openLocalPeer } from '../../src/peers/local-peer.ts';
import { repair } from '../../src/merkle/repair.ts';
import { openReader } from '../../src/read/open-reader.ts';
import type { RepairPeer } from '../../src/types/merkle.ts';
import { eventually } from '../helpers/eventually.ts';
import { startTestGateway } from '../helpers/gateway.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { startProxy } from '../helpers/proxy.ts';
import { closing, createSetting, type Setting } from '../helpers/setting.ts';
import { storedRows } from '../helpers/stored-rows.ts';
import { writerOf } from '../helpers/writer.ts';

const first = (Date.now() - 60_000) * 1000;

async function write({ deployment }: Setting, ops: readonly TestOp[]): Promise<void> {
  for (const op of ops) await writerOf(deployment).write([chunkOf([op])]);
}

/** One deployment behind a gateway, and another one here. */
async function setUp(t: ExecutionContext, url = (gateway: string) => Promise.resolve(gateway)) {
  const [own, other] = await Promise.all([createSetting(t, ONE), createSetting(t, ONE)]);
  const gateway = await startTestGateway(t, other.deployment);
  await Promise.all([own.drain(), other.drain()]);
  const here = own.use(await openLocalPeer(own.deployment.options));
  const there = openPeer(await url(gateway.url), { token: 'peer' });
  t.teardown(() => there.close());
  return { own, other, here, there, gateway };
}
const ONE = { partitions: 1 };
const ask = (url: string, token = 'peer') => openPeer(url, { token, timeoutMs: 2000 }).root();

test.serial('a peer answers over HTTP as it does in its own process', async (t) => {
  const { other, there } = await setUp(t);
  const local: RepairPeer = other.use(await openLocalPeer(other.deployment.options));
  await write(other, [
    { id: 'a', stamp: first, kind: 'json', body: '{"a":"\\"é"}', state: 'ünï' },
    { id: 'b.c', stamp: first + 1, kind: 'binary', body: 'AAEC' },
    { id: 'gone', stamp: first + 2, kind: 'delete' },
    { id: 'stub', stamp: first + 3, kind: 'state', state: 'x' },
  ]);
  const ids = ['gone', 'none', 'a', 'stub', 'b.c'];
  const weeks = await local.tombstoneWeeks();
  t.is(weeks.length, 1);
  const week = weeks[0]?.week ?? 0;
  const leaves = (await local.leaves({})).map(({ node }) => node);
  const dead = (await local.leaves({ week })).map(({ node }) => node);
  const within = { bits: 8 as const, nodes: leaves.map((leaf) => leaf >> 8) };
  const calls: ((peer: RepairPeer) => Promise<unknown>)[] = [
    (peer) => peer.identity(),
    (peer) => peer.root(),
    (peer) => peer.tombstoneWeeks(),
    (peer) => peer.leaves({ bits: 8 }),
    (peer) => peer.leaves({ bits: 12, within }),
    (peer) => peer.leaves({ week }),
    (peer) => peer.leafItems(leaves),
    (peer) => peer.leafItems(dead, { week }),
    (peer) => peer.itemsOf(ids),
    (peer) => peer.itemsOf(ids, { week }),
    (peer) => peer.registers(ids),
    (peer) => peer.rows(ids),
    (peer) => peer.rows([]),
  ];
  for (const call of calls) t.deepEqual(await call(there), await call(local), String(call));
  t.is(there.traffic.requests, calls.length);
});

test.serial(
  'I2 I5: two deployments are equal after a repair over HTTP, and the next one moves nothing',
  async (t) => {
    const { own, other, here, there } = await setUp(t);
    const ids = Array.from({ length: 700 }, (_, i) => `id.${i}`);
    const put = (from: number, body: string) =>
      chunkOf(ids.map((id, i): TestOp => ({ id, stamp: from + i, kind: 'json', body })));
    await writerOf(own.deployment).write([put(first, '"own"')]);
    await writerOf(other.deployment).write([put(first + 350, '"other"')]);
    await write(own, [{ id: 'id.1', stamp: first + 5000, kind: 'delete' }]);
    await write(other, [{ id: 'id.2', stamp: first + 5000, kind: 'state', state: 'new' }]);
    const result = await repair(here, there);
    t.like(result, { equal: true, left: 0, refused: [], pushed: { rows: 1 }, pulled: { rows: 699 } });
    t.deepEqual(await storedRows(own.deployment.pool), await storedRows(other.deployment.pool));
    const { requests } = there.traffic;
    t.like(await repair(here, there), { equal: true, pushed: { rows: 0 }, pulled: { rows: 0 } });
    t.is(there.traffic.requests - requests, 3, 'identity, root and weeks');
  },
);

test.serial('ten differences are found over HTTP in six round trips', async (t) => {
  const { own, other, there } = await setUp(t);
  const ids = Array.from({ length: 2000 }, (_, i) => `id.${i}`);
  const ops = ids.map((id, i): TestOp => ({ id, stamp: first + i, kind: 'json', body: '1' }));
  await Promise.all([own, other].map((side) => writerOf(side.deployment).write([chunkOf(ops)])));
  const changed = ids.slice(0, 10);
  await write(
    other,
    changed.map((id, i) => ({ id, stamp: first + 5000 + i, kind: 'json', body: '2' })),
  );
  const reader = closing(t, await openReader(own.deployment.options));
  const { differences, more } = await reader.merkle.diff(there, { recheckMs: 0 });
  t.deepEqual(differences.map(({ id }) => id).toSorted(), changed.toSorted());
  t.false(more);
  // The first round trip asks for identity and root.
  t.true(there.traffic.requests <= 7, `${there.traffic.requests} requests`);
  t.true(there.traffic.bytes < 60_000, `${there.traffic.bytes} bytes`);
});

test.serial(
  'a diff with a deployment of another key is refused, and not answered with every item',
  async (t) => {
    const own = await createSetting(t, { ...ONE, merkleKey: 'another key of 32 characters ....' });
    await own.drain();
    const { there } = await setUp(t);
    const reader = closing(t, await openReader(own.deployment.options));
    const { message } = await t.throwsAsync(reader.merkle.diff(there), { instanceOf: PeerRefusedError });
    t.regex(message, /TIERLINE_MERKLE_KEY/);
  },
);

test.serial('connections that are cut make a repair slower, not wrong', async (t) => {
  let proxy: Awaited<ReturnType<typeof startProxy>> | undefined;
  const { own, other, here, there } = await setUp(t, async (gateway) => {
    proxy = closing(t, await startProxy(gateway));
    return proxy.url;
  });
  const ids = Array.from({ length: 3000 }, (_, i) => `id.${i}`);
  await writerOf(own.deployment).write([
    chunkOf(ids.map((id, i): TestOp => ({ id, stamp: first + i, kind: 'json', body: '1' }))),
  ]);
  let batches = 0;
  const result = await repair(here, there, {
    onProgress: () => {
      if (++batches % 2 === 0) proxy?.cut();
    },
  });
  t.like(result, { equal: true, left: 0, refused: [] });
  t.deepEqual(await storedRows(own.deployment.pool), await storedRows(other.deployment.pool));
});

test.serial(
  'I8: a peer that cannot be used is told apart: away, no gateway, a token that may not',
  async (t) => {
    const { gateway } = await setUp(t);
    const refused = { instanceOf: PeerRefusedError };
    t.regex((await t.throwsAsync(ask(gateway.url, 'reader'), refused)).message, /403.*lacks the scope peer/);
    t.regex((await t.throwsAsync(ask(gateway.url, 'stranger'), refused)).message, /401/);
    const server = createServer((_, response) => response.end('hello'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const other = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    t.regex((await t.throwsAsync(ask(other), refused)).message, /not of the peer protocol/);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    const away = await t.throwsAsync(ask(other), { instanceOf: PeerUnavailableError });
    t.regex(away.message, /cannot be asked.*Try again later/);
    for (const url of ['', 'redis://x', 'https://user:secret@x', 'https://x/?token=secret']) {
      t.throws(() => openPeer(url, { token: 'x' }), { instanceOf: ConfigError });
    }
    t.throws(() => openPeer(other, { token: '' }), { instanceOf: ConfigError });
  },
);

test.serial('a pause that a peer asks for ends when the peer is closed', async (t) => {
  const server = createServer((_, response) => response.writeHead(503, { 'retry-after': '20' }).end('{}'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => void server.close());
  const peer = openPeer(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, { token: 'x' });
  const asked = peer.root();
  await eventually(() => peer.traffic.bytes > 0, 'it has answered');
  peer.close();
  const { message } = await t.throwsAsync(within(10_000, asked), { instanceOf: PeerUnavailableError });
  t.regex(message, /closed/);
  t.is(peer.traffic.requests, 1);
});

test.serial('I8: a content that is too large for the receiver is refused by itself', async (t) => {
  const own = await createSetting(t, ONE);
  const small = { ...ONE, maxContentBytes: 1024 * 1024 };
  const other = await createSetting(t, small);
  const gateway = await startTestGateway(t, other.deployment);
  await Promise.all([own.drain(), other.drain()]);
  const body = JSON.stringify('x'.repeat(20 * 1024 * 1024));
  await write(own, [
    { id: 'large', stamp: first, kind: 'json', body },
    { id: 'small', stamp: first + 1, kind: 'json', body: '1' },
  ]);
  const here = own.use(await openLocalPeer(own.deployment.options));
  const there = openPeer(gateway.url, { token: 'peer' });
  t.teardown(() => there.close());
  const pushed = await repair(here, there);
  t.like(pushed, { equal: false, left: 1, pushed: { rows: 1 } });
  t.like(pushed.refused, [{ id: 'large', side: 'there' }]);
  t.regex(pushed.refused[0]?.reason ?? '', /20971522 bytes, and 1048576 may be/);
  const pulled = await repair(other.use(await openLocalPeer(other.deployment.options)), here);
  t.like(pulled.refused, [{ id: 'large', side: 'here' }]);
});

test.serial('the routes refuse what is not of the protocol, and store nothing', async (t) => {
  const { other, there, gateway } = await setUp(t);
  await write(other, [{ id: 'a', stamp: first, kind: 'json', body: '1' }]);
  const [row] = (await there.rows(['a'])).rows;
  const status = async (path: string, body: unknown) => {
    const init = { method: 'POST', token: 'peer', headers: { 'content-type': 'application/json' } };
    return (await gateway.call(`/v1/merkle/${path}`, { ...init, body: JSON.stringify(body) })).status;
  };
  const before = await storedRows(other.deployment.pool);
  t.is(await status('nodes', { bits: 9 }), 400);
  t.is(await status('nodes', { bits: 8, within: { bits: 12, nodes: [1] } }), 400);
  t.is(await status('items', { leaves: [65_536] }), 400);
  t.is(await status('items', { leaves: [1], week: -1 }), 400);
  t.is(await status('registers', { ids: Array.from({ length: 1001 }, (_, i) => `${i}`) }), 400);
  t.is(await status('rows', { ids: [''] }), 400);
  t.is(await status('accept', { rows: [{ ...row, id: 'b', extra: 1 }] }), 400);
  t.is(await status('accept', { rows: [row, row] }), 400);
  t.is(await status('accept', { rows: [{ ...row, contentVersion: 2 ** 60 }] }), 400);
  t.is(await status('accept', { rows: 'x' }), 400);
  t.deepEqual(await storedRows(other.deployment.pool), before);
});
