import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import test from 'ava';
import * as fc from 'fast-check';
import type { Chunk } from '../../src/batch/fold.ts';
import { RangeDelete } from '../../src/drain/range-delete.ts';
import { foldDeltas } from '../../src/postgres/merkle-delta.ts';
import { merkleRoot } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import type { RangeJob } from '../../src/schema/job.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { modelRoot, modelRows } from '../helpers/model.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { noteRange } from '../helpers/noted-range.ts';
import { Random } from '../helpers/random.ts';
import { expandRanges, isRange, type MixedOp } from '../helpers/range-model.ts';
import { asCopy, storedCopies, storedRows } from '../helpers/stored-rows.ts';
import { writerOf, writerPartsOf } from '../helpers/writer.ts';
import { removeEach } from '../helpers/redis-keys.ts';

const OPS = 300;
/** The whole of 500 runs is `npm run soak`; a few of them show a broken rule as well. */
const RUNS = process.env.SOAK_RUNS === undefined ? 8 : Number(process.env.SOAK_RUNS);
const FIRST_STAMP = 1_795_000_000_000_000;

const PREFIXES = ['a.', 'a.1', 'b%', 'b', 'ü', 'c_'];
const STATES = ['default', 'open', 'done'];
const ids = [
  ...Array.from({ length: 14 }, (_, i) => `a.${i % 3}.${i}`),
  'b%x',
  'bx',
  'b_x',
  'ü.1',
  'üz',
  'c_1',
  'cx1',
  'z',
];

/** Ids whose state register nobody writes: a range must leave it unwritten. */
const stateless = ['a.plain', 'b%plain', 'üplain'];

const deployment = await createDeployment(ONE_LANE);
test.after.always(() => deployment.close());

test('I2 I4 I5: submits, deletes, states and range deletes end the same in any order and batching', async (t) => {
  const property = fc.asyncProperty(fc.integer(), async (seed) => {
    const random = new Random(seed);
    const ops = Array.from({ length: OPS }, (_, i) => randomOp(random, FIRST_STAMP + i));
    const rows = modelRows(expandRanges(ops));
    await reset();
    await arrive(ops, random);
    const stored = await storedRows(deployment.pool);
    assert.deepEqual(stored, rows);
    assert.deepEqual(await merkleRoot(deployment.pool), modelRoot(rows));
    assert.deepEqual((await verifyMerkle(deployment.pool)).differences, []);
    assert.deepEqual(await storedCopies(deployment, rows), rows.map(asCopy));
  });
  await t.notThrowsAsync(async () => fc.assert(property, { numRuns: RUNS, endOnFailure: true }));
});

function randomOp(random: Random, stamp: number): MixedOp {
  const id = random.pick(ids);
  const state = random.pick(STATES);
  const dice = random.next();
  if (dice < 0.1) return { kind: 'json', id: random.pick(stateless), stamp, body: 'null' };
  if (dice < 0.35) return { kind: 'json', id, stamp, body: String(stamp) };
  if (dice < 0.55) return { kind: 'json', id, stamp, body: `"${stamp}"`, state };
  if (dice < 0.68) return { kind: 'delete', id, stamp };
  if (dice < 0.92) return { kind: 'state', id, stamp, state };
  if (dice < 0.96) return { v: 1, kind: 'state', value: state, stamp };
  return { v: 1, kind: 'prefix', value: random.pick(PREFIXES), stamp };
}

/**
 * Lets everything arrive at once and be taken in random order and batches, as workers would: what says that something
 * earlier must come first is put back and taken again later.
 */
async function arrive(ops: readonly MixedOp[], random: Random): Promise<void> {
  const { redis, keys } = deployment;
  const writer = writerOf(deployment);
  const ranges = new Map(ops.filter(isRange).map((job): [string, RangeJob] => [randomUUID(), job]));
  const chunks = cut(ops, random).map(chunkOf);
  for (const { chunkId, job } of chunks) await redis.zadd(keys.inflight, job.first, chunkId);
  for (const [rangeId, job] of ranges) await noteRange(deployment, rangeId, job);
  let waiting: Chunk[] = random.shuffle(chunks);
  while (waiting.length > 0 || ranges.size > 0) {
    const batch = waiting.splice(0, random.upTo(5));
    // Range deletes read ahead without locks: other batches come between, and at the same time.
    const together = random.chance(0.3);
    const writing = batch.length === 0 ? Promise.resolve([]) : writer.write(batch);
    if (!together) await writing;
    for (const [rangeId, job] of random.shuffle([...ranges])) {
      const run = await new RangeDelete(writerPartsOf(deployment)).run(
        rangeId,
        { ...job, hashes: undefined },
        async () => undefined,
      );
      if (run === 'done') ranges.delete(rangeId);
    }
    const fates = await writing;
    const deferred = batch.filter((_, i) => fates[i] !== 'settled');
    // Now and then a settled chunk comes again, as after a crash before its completion.
    const again = batch.filter((_, i) => fates[i] === 'settled' && random.chance(0.1));
    waiting = random.shuffle([...waiting, ...deferred, ...again]);
    if (random.chance(0.2)) await foldDeltas(deployment.pool);
  }
}

/** Runs of neighbouring stamps; a range delete ends one. */
function cut(ops: readonly MixedOp[], random: Random): TestOp[][] {
  const pieces: TestOp[][] = [[]];
  for (const op of ops) {
    if (isRange(op) || random.chance(0.15)) pieces.push([]);
    if (!isRange(op)) pieces.at(-1)?.push(op);
  }
  return pieces.filter((piece) => piece.length > 0);
}

async function reset(): Promise<void> {
  const { pool, redis, keys } = deployment;
  await pool.query('TRUNCATE items, merkle_leaf, merkle_path, merkle_delta, range_deletes');
  const copies = [...ids, ...stateless].map((id) => keys.item(id));
  await removeEach(redis, [...copies, keys.inflight, keys.pending, keys.ranges, keys.covers]);
}
