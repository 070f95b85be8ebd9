import test, { type ExecutionContext } from 'ava';
import { ClosedError, InvalidItemError } from '../../src/errors.ts';
import { xorDigests, ZERO_DIGEST } from '../../src/merkle/digest.ts';
import { foldDeltas } from '../../src/postgres/merkle-delta.ts';
import { openReader } from '../../src/read/open-reader.ts';
import type { MerkleNode } from '../../src/types/merkle.ts';
import type { Reader } from '../../src/types/read.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { lanesWriterOf } from '../helpers/writer.ts';
import { closing } from '../helpers/setting.ts';

const FIRST = 1_795_000_000_000_000;
const COUNT = 1000;
const puts: TestOp[] = Array.from({ length: COUNT }, (_, n) => ({
  id: `uk.${n % 10}.${n}`,
  stamp: FIRST + n,
  kind: 'json',
  body: `${n}`,
}));

interface Side {
  readonly deployment: Deployment;
  readonly reader: Reader;
  readonly write: (ops: readonly TestOp[]) => Promise<unknown>;
}

async function openSide(t: ExecutionContext): Promise<Side> {
  const deployment = closing(t, await createDeployment());
  const reader = closing(t, await openReader(deployment.options));
  const writer = lanesWriterOf(deployment);
  return { deployment, reader, write: (ops) => writer.write([chunkOf(ops)]) };
}

function sum(nodes: readonly MerkleNode[]): MerkleNode {
  return nodes.reduce(
    (all, { count, digest }) => ({ count: all.count + count, digest: xorDigests(all.digest, digest) }),
    { count: 0, digest: ZERO_DIGEST },
  );
}

test('I5: children, nodes of every depth and items of leaves each add up to the root, folded or not', async (t) => {
  const { deployment, reader, write } = await openSide(t);
  await write(puts.slice(0, COUNT / 2));
  await deployment.shards.each(({ pool }) => foldDeltas(pool));
  await write(puts.slice(COUNT / 2));
  await write([{ id: 'uk.3.3', stamp: FIRST + COUNT, kind: 'delete' }]);
  const { merkle } = reader;
  const root = await merkle.root();
  t.is(root.count, COUNT - 1);

  const top = await merkle.children('');
  t.deepEqual(top.items, [{ path: 'uk', ...root }]);
  const children = [];
  let after: string | undefined;
  do {
    const page = await merkle.children('uk', { limit: 3, ...(after === undefined ? {} : { after }) });
    t.true(page.items.length <= 3);
    children.push(...page.items);
    after = page.next;
  } while (after !== undefined);
  t.deepEqual(
    children.map(({ path }) => path),
    Array.from({ length: 10 }, (_, n) => `uk.${n}`),
  );
  t.deepEqual(sum(children), root);
  t.deepEqual(await merkle.prefix('uk.3'), { count: 99, digest: children[3]?.digest as string });
  t.deepEqual((await merkle.children('nothing')).items, []);

  for (const bits of [8, 12, 16] as const) t.deepEqual(sum(await merkle.leaves({ bits })), root, `${bits}`);
  const [node] = await merkle.leaves({ bits: 8 });
  const below = await merkle.leaves({ within: { bits: 8, nodes: [node?.node as number] } });
  t.true(below.every(({ node: leaf }) => leaf >> 8 === node?.node));
  t.deepEqual(sum(below), { count: node?.count as number, digest: node?.digest as string });
  t.deepEqual(
    await merkle.leaves({ within: { bits: 8, nodes: [node?.node as number, node?.node as number] } }),
    below,
  );
  for (const bits of [8, 12] as const) {
    const outer = await merkle.leaves({ bits });
    const within = { bits, nodes: outer.map((one) => one.node) };
    t.deepEqual(await merkle.leaves({ within }), await merkle.leaves(), `within all of ${bits} bits`);
  }
  // The last week that there is room for.
  t.deepEqual(await merkle.leaves({ week: 32_767 }), []);
  t.deepEqual(await merkle.leaves({ week: 32_767, within: { bits: 8, nodes: [255] } }), []);
  const items = await merkle.leafItems((await merkle.leaves()).map((leaf) => leaf.node));
  t.is(items.length, COUNT - 1);
  t.deepEqual(sum(items.map(({ digest }) => ({ count: 1, digest }))), root);
});

test('I5: two stores that took the same writes have no difference; what only one took is found by id', async (t) => {
  const [here, there] = await Promise.all([openSide(t), openSide(t)]);
  const again = { recheckMs: 0 };
  await here.write(puts);
  await there.write([...puts].slice(0, 10));
  await there.write(puts);
  t.deepEqual(await here.reader.merkle.diff(there.reader.merkle, again), { differences: [], more: false });

  await here.write([{ id: 'uk.1.1', stamp: FIRST + COUNT, kind: 'json', body: '"newer"' }]);
  await here.write([{ id: 'uk.2.2', stamp: FIRST + COUNT + 1, kind: 'delete' }]);
  await there.write([{ id: 'uk.x', stamp: FIRST + COUNT + 2, kind: 'json', body: '1', state: 'open' }]);
  const { differences, more } = await here.reader.merkle.diff(there.reader.merkle, again);
  t.deepEqual(
    [...differences].sort((a, b) => (a.id < b.id ? -1 : 1)),
    [
      { id: 'uk.1.1', here: FIRST + COUNT, there: FIRST + 1 },
      { id: 'uk.2.2', there: FIRST + 2 },
      { id: 'uk.x', there: FIRST + COUNT + 2 },
    ],
  );
  t.false(more);
  const limited = await here.reader.merkle.diff(there.reader.merkle, { ...again, limit: 1 });
  t.is(limited.differences.length, 1);
  t.true(limited.more);
});

test('I8: what cannot be asked of the tree is refused by name, and a signal ends the wait', async (t) => {
  const { reader, write } = await openSide(t);
  const other = await openSide(t);
  await write(puts.slice(0, 3));
  const { merkle } = reader;
  const wrong = { instanceOf: InvalidItemError };
  await t.throwsAsync(merkle.children('a\0'), wrong);
  await t.throwsAsync(merkle.children('', { limit: 0 }), wrong);
  await t.throwsAsync(merkle.children('', { after: 'nonsense' }), wrong);
  const { next } = await merkle.children('uk', { limit: 1 });
  await t.throwsAsync(merkle.children('', { after: next as string }), wrong);
  await t.throwsAsync(merkle.leaves({ bits: 9 as 8 }), wrong);
  await t.throwsAsync(merkle.leaves({ bits: 8, within: { bits: 12, nodes: [0] } }), wrong);
  await t.throwsAsync(merkle.leaves({ within: { bits: 8, nodes: [256] } }), wrong);
  await t.throwsAsync(merkle.leafItems([65_536]), wrong);
  await t.throwsAsync(merkle.leafItems([1.5]), wrong);
  await t.throwsAsync(merkle.diff(other.reader.merkle, { limit: 0 }), wrong);
  const late = new AbortController();
  const diff = merkle.diff(other.reader.merkle, { recheckMs: 60_000, signal: late.signal });
  late.abort(new Error('enough'));
  await t.throwsAsync(diff, { message: 'enough' });
});

test('I8: health tells what answers, and never rejects for what does not', async (t) => {
  const { reader } = await openSide(t);
  const health = await reader.health();
  t.is(health.status, 'ok');
  t.true(health.feed.live);
  for (const backend of [health.queue, health.cache, health.postgres]) t.true((backend.latencyMs ?? -1) >= 0);
  await reader.close();
  await t.throwsAsync(reader.health(), { instanceOf: ClosedError });
});
