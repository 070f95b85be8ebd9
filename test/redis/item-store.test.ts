import test from 'ava';
import * as fc from 'fast-check';
import type { CopyFate } from '../../src/redis/item-store.ts';
import type { StoredEntry } from '../../src/redis/stored-entry.ts';
import { encodeStored, type StoredItem } from '../../src/schema/stored-item.ts';
import { ZERO_DIGEST } from '../../src/merkle/digest.ts';
import { LOOK_MS } from '../../src/redis/cache-session.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { serversOf } from '../helpers/redis-keys.ts';

const deployment = await createDeployment();
const store = deployment.items;
test.after.always(() => deployment.close());

let count = 0;

/** From a look of this moment. */
function setNewer(entries: readonly StoredEntry[], likelyAbsent = false): Promise<CopyFate[]> {
  return store.setNewer(entries, store.look(), likelyAbsent);
}

function entry(
  id: string,
  contentVersion: number,
  stateVersion: number,
  ttlMs = 0,
  other: Partial<StoredItem> = {},
): StoredEntry {
  const value = encodeStored({
    id,
    kind: 'json',
    contentVersion,
    stateVersion,
    tiers: 'all',
    digest: ZERO_DIGEST,
    contentHash: '',
    state: 'default',
    body: '1',
    ...other,
  });
  return { id, value, ttlMs };
}

/**
 * What becomes of a copy with an old look, which was taken before `second` was written with a new one. A look is good for a second, and a
 * busy machine may take longer: then it is `late` as well.
 */
async function fateOfOldLook(
  first: readonly [contentVersion: number, stateVersion: number, ttlMs: number],
  second: readonly [contentVersion: number, stateVersion: number, ttlMs: number],
): Promise<CopyFate | undefined> {
  const id = `look.${++count}`;
  await setNewer([entry(id, ...first)]);
  const old = store.look();
  await setNewer([entry(id, ...second)]);
  const [fate] = await store.setNewer([entry(id, 9, 9)], old);
  return fate;
}

test('I1 I2: whatever the order, and however they are stored, the newest copy stays', async (t) => {
  // Numbers of different lengths: the script compares them as text.
  const stamp = fc.constantFrom(
    0,
    1,
    9,
    10,
    1_000_000_000_000_000,
    1_795_000_000_000_000,
    Number.MAX_SAFE_INTEGER,
  );
  const copy = fc.record({ content: stamp, state: stamp, likelyAbsent: fc.boolean() });
  const property = fc.asyncProperty(fc.array(copy, { minLength: 1, maxLength: 8 }), async (copies) => {
    const id = `i.${++count}`;
    let newest: readonly [number, number] = [-1, -1];
    for (const { content, state, likelyAbsent } of copies) {
      const isNewer = content > newest[0] || (content === newest[0] && state >= newest[1]);
      const [taken] = await setNewer([entry(id, content, state)], likelyAbsent);
      t.is(taken, isNewer ? 'stored' : 'newer');
      if (isNewer) newest = [content, state];
    }
    t.deepEqual(await Promise.all(store.getParts([id])), [[entry(id, ...newest).value]]);
  });
  await fc.assert(property, { numRuns: 100 });
});

test('a batch of entries answers for each, and a forgotten script is loaded again', async (t) => {
  await setNewer([entry('b', 5, 0)]);
  for (const server of serversOf(deployment.redis)) await server.script('FLUSH');
  t.deepEqual(await setNewer([entry('a', 1, 0), entry('b', 4, 9), entry('c', 1, 0)]), [
    'stored',
    'newer',
    'stored',
  ]);
  t.deepEqual(await setNewer([entry('b', 6, 0), entry('d', 1, 0), entry('c', 0, 7)], true), [
    'stored',
    'stored',
    'newer',
  ]);
  t.deepEqual(await setNewer([]), []);
});

test('a copy lives as long as it was given, whichever way it was stored', async (t) => {
  const { redis, keys } = deployment;
  await setNewer([entry('brief', 1, 0, 60_000)], true);
  t.true((await redis.pttl(keys.item('brief'))) > 0);
  await setNewer([entry('brief', 2, 0)]);
  t.is(await redis.pttl(keys.item('brief')), -1, 'a newer one brings its own life');
  await setNewer([entry('brief', 3, 0, 60_000)]);
  t.true((await redis.pttl(keys.item('brief'))) > 0);
});

test('a new state leaves the content its life, and content that takes the place of a fence brings its own', async (t) => {
  const { redis, keys } = deployment;
  await setNewer([entry('kept', 5, 0, 60_000)]);
  await setNewer([entry('kept', 5, 1)]);
  t.true((await redis.pttl(keys.item('kept'))) > 0);
  await setNewer([entry('fence', 5, 0, 60_000, { kind: 'fence', body: '' })]);
  await setNewer([entry('fence', 5, 1)]);
  t.is(await redis.pttl(keys.item('fence')), -1);
});

test('I6: a copy that ends before the looks of its time do makes all of them too old, and those after it are good', async (t) => {
  await eventually(async () => {
    await setNewer([entry('brief look', ++count, 0, LOOK_MS - 1)]);
    return (await setNewer([entry('brief look', ++count, 0)]))[0] === 'stored';
  }, 'the process that wrote it is told at once');
  t.is(await fateOfOldLook([1, 0, 0], [2, 0, LOOK_MS - 1]), 'late');
  await eventually(
    async () => (await fateOfOldLook([1, 0, 0], [2, 0, LOOK_MS])) === 'stored',
    'one that lives as long as they are good leaves them good',
  );
  // A state alone leaves the copy its life. When the copy has ended before, it is a copy without an end.
  await eventually(
    async () => (await fateOfOldLook([1, 0, LOOK_MS - 1], [1, 1, 0])) === 'late',
    'a new state for a copy that ends soon',
  );
  await eventually(
    async () => (await fateOfOldLook([1, 0, 0], [1, 1, 0])) === 'stored',
    'a new state for a copy without an end',
  );
});

/** The smaller first. Characters of one byte, of two, three and four; of a pair of characters only the last byte differs. */
const TIED_STATES = [
  ['a', 'b'],
  ['é', 'ê'],
  ['\u0801', '\u0802'],
  ['क', 'ख'],
  ['\u{10001}', '\u{10002}'],
  ['😀', '😁'],
  // A state ends where its characters do, and not where the body begins with something larger.
  ['a', 'a!'],
  ['é', 'é!'],
  ['क', 'क!'],
  ['😀', '😀!'],
] as const;

test('I2: of equal stamps the larger state stays, whatever characters it begins with', async (t) => {
  const digests = ['1'.repeat(32), '2'.repeat(32)] as const;
  for (const [smaller, larger] of TIED_STATES) {
    for (const [given, fate] of [
      [smaller, 'newer'],
      [larger, 'stored'],
    ] as const) {
      const id = `tie.${++count}`;
      const other = given === smaller ? larger : smaller;
      await setNewer([entry(id, 5, 5, 0, { state: `x${other}`, digest: digests[0] })]);
      const [taken] = await setNewer([entry(id, 5, 5, 0, { state: `x${given}`, digest: digests[1] })]);
      t.is(taken, fate, `${other}, then ${given}`);
    }
  }
});

test('a damaged copy is written over by its row, which has the same stamps', async (t) => {
  await setNewer([entry('damaged', 5, 5, 0, { digest: '1'.repeat(32) })]);
  const whole = entry('damaged', 5, 5, 0, { digest: '2'.repeat(32) });
  t.deepEqual(await setNewer([whole]), ['stored']);
  t.is((await store.inspect('damaged'))?.value, whole.value);
});
