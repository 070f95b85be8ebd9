import assert from 'node:assert/strict';
import test from 'ava';
import * as fc from 'fast-check';
import type { Chunk } from '../../src/batch/fold.ts';
import { BatchWriter } from '../../src/drain/batch-writer.ts';
import { UNOBSERVED_DRAIN } from '../../src/drain/writer-parts.ts';
import { merkleRoot } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { modelRoot, modelRows } from '../helpers/model.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { Random } from '../helpers/random.ts';
import { tiedOperations } from '../helpers/tied-operations.ts';
import { asCopy, storedCopies, storedRows } from '../helpers/stored-rows.ts';
import { writerPartsOf } from '../helpers/writer.ts';

const RUNS = 30;
const FIRST_STAMP = 1_795_000_000_000_000;

const op = tiedOperations(FIRST_STAMP, ['a', 'b.c', 'ünï']);

/** Copies that a writer gave up, because the machine was so slow that every look at Postgres was too old. */
let dropped = 0;
const deployment = await createDeployment(ONE_LANE);
test.after.always(() => deployment.close());

test('I2 I5: operations with equal stamps end in the same rows, copies and root in any order, batches and repetition', async (t) => {
  const property = fc.asyncProperty(
    fc.array(op, { minLength: 2, maxLength: 25 }),
    fc.integer(),
    async (ops, seed) => {
      const random = new Random(seed);
      const rows = modelRows(ops);
      const expected = { rows, root: modelRoot(rows), copies: rows.map(asCopy), differences: [] };
      for (let turn = 0; turn < 2; turn++) {
        await deployment.pool.query('TRUNCATE items, merkle_leaf, merkle_path, merkle_delta');
        await deployment.emptyRedis();
        dropped = 0;
        await apply(batchesOf(ops, random), random.upTo(3));
        const found = await outcome();
        const copies = found.copies.map((copy, i) => (dropped > 0 ? (copy ?? expected.copies[i]) : copy));
        assert.deepEqual({ ...found, copies }, expected);
      }
    },
  );
  await t.notThrowsAsync(async () => fc.assert(property, { numRuns: RUNS, includeErrorInReport: true }));
});

/** Every operation once or twice, each a chunk of its own, in batches of random chunks. */
function batchesOf(ops: readonly TestOp[], random: Random): Chunk[][] {
  const twice = ops.filter(() => random.chance(0.4));
  const chunks = random.shuffle([...ops, ...twice]).map((one) => chunkOf([one]));
  const batches: Chunk[][] = [];
  while (chunks.length > 0) batches.push(chunks.splice(0, random.upTo(5)));
  return batches;
}

async function apply(batches: Chunk[][], writers: number): Promise<void> {
  const observer = { ...UNOBSERVED_DRAIN, copiesDropped: (copies: number) => void (dropped += copies) };
  const writer = new BatchWriter({ ...writerPartsOf(deployment), observer });
  const run = async () => {
    for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) await writer.write(batch);
  };
  await Promise.all(Array.from({ length: writers }, run));
}

async function outcome() {
  const { pool, redis, keys } = deployment;
  const rows = await storedRows(pool);
  return {
    rows,
    root: await merkleRoot(pool),
    copies: await storedCopies({ redis, keys }, rows),
    differences: (await verifyMerkle(pool)).differences,
  };
}
