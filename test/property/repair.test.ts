import assert from 'node:assert/strict';
import test from 'ava';
import * as fc from 'fast-check';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openLocalPeer } from '../../src/peers/local-peer.ts';
import { repair } from '../../src/merkle/repair.ts';
import { merkleRoot } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { modelRoot, modelRows } from '../helpers/model.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { asCopy, storedCopies, storedRows } from '../helpers/stored-rows.ts';
import { tiedOperations } from '../helpers/tied-operations.ts';
import { writerOf } from '../helpers/writer.ts';

const RUNS = 15;
const IDS = Array.from({ length: 12 }, (_, i) => `city.${i % 3}.${i}`);
/** Within the tombstone horizon and not ahead of the clock. */
const FIRST_STAMP = (Date.now() - 60_000) * 1000;

async function openSide() {
  const deployment = await createDeployment(ONE_LANE);
  const [peer, drain] = await Promise.all([
    openLocalPeer(deployment.options),
    startDrain(deployment.options),
  ]);
  const close = async () => {
    await Promise.all([peer.close(), drain.close()]);
    await deployment.close();
  };
  return { deployment, peer, close };
}

const sides = await Promise.all([openSide(), openSide()]);
const [here, there] = sides;
test.after.always(() => Promise.all(sides.map((side) => side.close())));

test('I2 I4 I5: after a repair both sides of any two histories are equal and hold the newest of every register', async (t) => {
  const history = fc.array(tiedOperations(FIRST_STAMP, IDS), { maxLength: 30 });
  const some = fc.array(tiedOperations(FIRST_STAMP, IDS), { minLength: 1, maxLength: 30 });
  const property = fc.asyncProperty(some, history, async (own, others) => {
    await Promise.all([write(here.deployment, own), write(there.deployment, others)]);
    const result = await repair(here.peer, there.peer);
    assert.deepEqual(
      { equal: result.equal, left: result.left, refused: result.refused },
      { equal: true, left: 0, refused: [] },
    );
    const rows = modelRows([...own, ...others]);
    const expected = { rows, root: modelRoot(rows), differences: [] };
    for (const { deployment } of sides) {
      const { copies, ...found } = await outcome(deployment);
      assert.deepEqual(found, expected);
      // A copy may be missing, but never another one.
      rows.forEach((row, i) => copies[i] !== undefined && assert.deepEqual(copies[i], asCopy(row)));
    }
    assert.deepEqual((await repair(here.peer, there.peer)).pulled, { rows: 0, bytes: 0 });
  });
  await t.notThrowsAsync(async () => fc.assert(property, { numRuns: RUNS, includeErrorInReport: true }));
});

async function write(deployment: Deployment, ops: readonly TestOp[]): Promise<void> {
  await deployment.pool.query('TRUNCATE items, merkle_leaf, merkle_path, merkle_delta');
  await deployment.emptyRedis();
  const writer = writerOf(deployment);
  for (const op of ops) await writer.write([chunkOf([op])]);
}

async function outcome({ pool, redis, keys }: Deployment) {
  const rows = await storedRows(pool);
  return {
    rows,
    root: await merkleRoot(pool),
    copies: await storedCopies({ redis, keys }, rows),
    differences: (await verifyMerkle(pool)).differences,
  };
}
