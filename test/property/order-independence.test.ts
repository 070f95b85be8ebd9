import assert from 'node:assert/strict';
import test from 'ava';
import * as fc from 'fast-check';
import type { Chunk } from '../../src/batch/fold.ts';
import { foldDeltas } from '../../src/postgres/merkle-delta.ts';
import { merkleRoot } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { modelRoot, modelRows } from '../helpers/model.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { Random } from '../helpers/random.ts';
import { asCopy, storedCopies, storedRows } from '../helpers/stored-rows.ts';
import { writerOf } from '../helpers/writer.ts';

const OPS = 200;
const RUNS = 30;
/** About today, in µs: tombstone generations and the zero-padding of stamps are then as in production. */
const FIRST_STAMP = 1_795_000_000_000_000;

const ids = [
  ...Array.from({ length: 20 }, (_, i) => `city.de.${i % 3}.${i}`),
  'plain',
  '.a',
  '..',
  'a.',
  'ünï.✓',
];
const id = fc.constantFrom(...ids);
const state = fc.constantFrom('default', 'open', 'closed', 'ünï');
const json = fc.json({ maxDepth: 2 });
const binary = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('base64'));

const write = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('json' as const), id, body: json }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('binary' as const), id, body: binary }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('json' as const), id, body: json, state }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), id }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('state' as const), id, state }) },
);
const writes = fc
  .array(write, { minLength: OPS, maxLength: OPS })
  .map((list): TestOp[] => list.map((op, i) => ({ ...op, stamp: FIRST_STAMP + i })));

const deployment = await createDeployment(ONE_LANE);
test.after.always(() => deployment.close());

test('I2 I5: any order, split, duplication and interleaving of stamped operations ends in the same rows, copies and root', async (t) => {
  // Drawn from a seed, so that a failure names one number and not 200 operations.
  const property = fc.asyncProperty(fc.integer(), async (seed) => {
    const ops = fc.sample(writes, { seed, numRuns: 1 })[0] ?? [];
    const rows = modelRows(ops);
    const root = modelRoot(rows);

    const expected = { rows, root, copies: rows.map(asCopy), differences: [] };

    await reset();
    await apply(inSequence(ops), 1);
    assert.deepEqual(await outcome(), expected, 'in sequence');

    const random = new Random(seed);
    await reset();
    await apply(shuffled(ops, random), random.upTo(3), random);
    assert.deepEqual(await outcome(), expected, 'shuffled');
  });
  await t.notThrowsAsync(async () => fc.assert(property, { numRuns: RUNS, endOnFailure: true }));
});

function inSequence(ops: readonly TestOp[]): Chunk[][] {
  return Array.from({ length: OPS / 20 }, (_, i) => [chunkOf(ops.slice(i * 20, i * 20 + 20))]);
}

/** Every operation once or twice, in chunks cut at random places, in batches of random chunks. */
function shuffled(ops: readonly TestOp[], random: Random): Chunk[][] {
  const chunks = random
    .shuffle([...cut(ops, random), ...cut(ops, random).filter(() => random.chance(0.5))])
    .map(chunkOf);
  const batches: Chunk[][] = [];
  while (chunks.length > 0) batches.push(chunks.splice(0, random.upTo(6)));
  return batches;
}

function cut(ops: readonly TestOp[], random: Random): TestOp[][] {
  const pieces: TestOp[][] = [];
  for (let from = 0; from < ops.length; ) {
    const to = from + random.upTo(12);
    pieces.push(ops.slice(from, to));
    from = to;
  }
  return pieces;
}

/** Writes the batches through `lanes` writers at once; with `random`, folds deltas in between. */
async function apply(batches: Chunk[][], lanes: number, random?: Random): Promise<void> {
  const writer = writerOf(deployment);
  const lane = async () => {
    for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) {
      await writer.write(batch);
      if (random?.chance(0.1)) await foldDeltas(deployment.pool);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

async function reset(): Promise<void> {
  await deployment.pool.query('TRUNCATE items, merkle_leaf, merkle_path, merkle_delta');
  await deployment.emptyRedis();
}

async function outcome(): Promise<object> {
  const { pool, redis, keys } = deployment;
  const rows = await storedRows(pool);
  return {
    rows,
    root: await merkleRoot(pool),
    copies: await storedCopies({ redis, keys }, rows),
    differences: (await verifyMerkle(pool)).differences,
  };
}
