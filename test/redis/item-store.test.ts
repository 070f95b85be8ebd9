import test from 'ava';
import * as fc from 'fast-check';
import type { CopyFate } from '../../src/redis/item-store.ts';
import type { StoredEntry } from '../../src/redis/stored-entry.ts';
import { encodeStored } from '../../src/schema/stored-item.ts';
import { ZERO_DIGEST } from '../../src/merkle/digest.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { mastersOf } from '../../src/redis/masters.ts';

const deployment = await createDeployment();
const store = deployment.items;
test.after.always(() => deployment.close());

let count = 0;

/** From a look of this moment. */
function setNewer(entries: readonly StoredEntry[], likelyAbsent = false): Promise<CopyFate[]> {
  return store.setNewer(entries, store.look(), likelyAbsent);
}

function entry(id: string, contentVersion: number, stateVersion: number, ttlMs = 0) {
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
  });
  return { id, value, ttlMs };
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
  for (const server of mastersOf(deployment.redis)) await server.script('FLUSH');
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
