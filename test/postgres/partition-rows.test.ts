import { randomUUID } from 'node:crypto';
import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { hashRangeOf } from '../../src/lanes.ts';
import { partitionOf } from '../../src/partition.ts';
import { deadLettersOfChunk, insertDeadLetters, listDeadLetters } from '../../src/postgres/dead-letters.ts';
import { foldDeltas } from '../../src/postgres/merkle-delta.ts';
import { merkleRoot } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { copyRangeMarks, moveDeadLetters, removeNotes } from '../../src/postgres/partition-notes.ts';
import {
  copySlice,
  firstPlace,
  nextSlice,
  type PartitionHashes,
  partitionNode,
  placeAfter,
  removeSlice,
} from '../../src/postgres/partition-rows.ts';
import { inTransaction, type Pool } from '../../src/postgres/pool.ts';
import { openStore } from '../../src/store/open-store.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { storedRows } from '../helpers/stored-rows.ts';

const PARTITIONS = 2;
const MOVED = 1;
const ITEMS = 12_000;
const hashes = hashRangeOf(MOVED, PARTITIONS) as PartitionHashes;

const source = await createDeployment({ partitions: PARTITIONS });
const target = await createDeployment({ partitions: PARTITIONS });
test.after.always(() => Promise.all([source.close(), target.close()]));

test.before(async () => {
  await using store = await openStore(source.options);
  await using _drain = await startDrain(source.options);
  const items = Array.from({ length: ITEMS }, (_, i) => ({
    id: `${['uk', 'fr'][i % 2]}.${i % 7}.${i}`,
    content: i,
  }));
  await (await store.submitMany(items)).settled();
  await (await store.submit({ id: 'binary', content: new Uint8Array([0, 255, 10]) })).settled();
  await foldDeltas(source.pool);
  await (await store.deleteMany(items.slice(0, 500).map(({ id }) => id))).settled();
  await (await store.setState('uk.0.1400', 'open')).settled();
  await (await store.deletePrefix('fr.3.')).settled();
});

async function walk(pool: Pool, step: (slice: Parameters<typeof removeSlice>[1]) => Promise<number>) {
  let rows = 0;
  let slices = 0;
  let slice = await nextSlice(pool, hashes, firstPlace(hashes));
  while (slice !== undefined) {
    rows += await step(slice);
    slices++;
    slice = await nextSlice(pool, hashes, placeAfter(slice));
  }
  return { rows, slices };
}

async function marks(pool: Pool): Promise<unknown[]> {
  const columns = 'first_hash, kind, value, phase, deleted, stamp';
  return (await pool.query(`SELECT ${columns} FROM range_deletes ORDER BY 1`)).rows;
}

async function assertTrue(t: { deepEqual(a: unknown, b: unknown): void }) {
  t.deepEqual((await verifyMerkle(source.pool)).differences, []);
  t.deepEqual((await verifyMerkle(target.pool)).differences, []);
}

test.serial(
  'I2 I5: a partition is copied slice by slice, all columns alike, and both trees are true after each',
  async (t) => {
    const before = await merkleRoot(source.pool);
    const expected = (await storedRows(source.pool)).filter(
      ({ id }) => partitionOf(id, PARTITIONS) === MOVED,
    );
    const { rows, slices } = await walk(source.pool, async (slice) => {
      const copied = await inTransaction(target.pool, (to) => copySlice(source.pool, to, slice));
      await assertTrue(t);
      return copied;
    });
    t.is(rows, expected.length);
    // Live rows in two, and the tombstones.
    t.true(slices >= 3);
    t.deepEqual(await storedRows(target.pool), expected);
    const node = await partitionNode(source.pool, hashes);
    t.deepEqual(await partitionNode(target.pool, hashes), node);
    t.is(node.items + node.tombstones, rows);
    t.true(node.tombstones > 0);
    const all = `SELECT md5(string_agg(i::text, ',' ORDER BY id)) AS sum FROM items i WHERE id_hash BETWEEN $1 AND $2`;
    const sums = await Promise.all(
      [source, target].map(({ pool }) => pool.query(all, [hashes.first, hashes.last])),
    );
    t.deepEqual(sums[0]?.rows, sums[1]?.rows);
    t.deepEqual(await merkleRoot(source.pool), before);
  },
);

test.serial('I5: a slice that breaks off leaves nothing behind, and both connections go on', async (t) => {
  const slice = await nextSlice(target.pool, hashes, firstPlace(hashes));
  t.truthy(slice);
  // Its rows are there already.
  const again = inTransaction(target.pool, (to) =>
    copySlice(source.pool, to, slice as NonNullable<typeof slice>),
  );
  await t.throwsAsync(again, { message: /duplicate key/ });
  await assertTrue(t);
});

test.serial('marks of range deletes and dead letters go along; those of other partitions stay', async (t) => {
  const [own, other] = [MOVED, 0].map((wanted) => {
    let n = 0;
    while (partitionOf(`{t${n}}.x`, PARTITIONS) !== wanted) n++;
    return `{t${n}}.x`;
  }) as [string, string];
  const chunkId = randomUUID();
  const letters = [own, other].map((itemId) => ({
    itemId,
    stamp: 5,
    chunkId,
    payload: '{"kind":"é"}',
    sqlState: '22P02',
    message: 'no',
  }));
  await insertDeadLetters(source.pool, letters);
  await insertDeadLetters(target.pool, letters.slice(1));
  t.is(await moveDeadLetters(source.pool, target.pool, MOVED, PARTITIONS), 1);
  t.is(await moveDeadLetters(source.pool, target.pool, MOVED, PARTITIONS), 0);
  t.deepEqual(
    (await listDeadLetters(source.pool, 10)).map(({ itemId }) => itemId),
    [other],
  );
  const [, moved] = await deadLettersOfChunk(target.pool, chunkId);
  t.is(moved?.itemId, own);
  t.is(moved?.payload, letters[0]?.payload);

  const before = await marks(source.pool);
  t.is(before.length, PARTITIONS);
  await copyRangeMarks(source.pool, target.pool, hashes);
  await copyRangeMarks(source.pool, target.pool, hashes);
  t.deepEqual(await marks(target.pool), before.slice(MOVED));
  await removeNotes(source.pool, MOVED, hashes);
  t.deepEqual(await marks(source.pool), before.slice(0, MOVED));
});

test.serial(
  'I5: the rows are deleted slice by slice; the roots of both databases sum to what was',
  async (t) => {
    const { items } = await partitionNode(source.pool, hashes);
    const before = await merkleRoot(source.pool);
    const rest = (await storedRows(source.pool)).filter(({ id }) => partitionOf(id, PARTITIONS) !== MOVED);
    await foldDeltas(source.pool);
    await walk(source.pool, async (slice) => {
      const removed = await removeSlice(source.pool, slice);
      await assertTrue(t);
      return removed;
    });
    await foldDeltas(source.pool);
    await foldDeltas(target.pool);
    await assertTrue(t);
    t.deepEqual(await storedRows(source.pool), rest);
    t.deepEqual(await partitionNode(source.pool, hashes), { items: 0, tombstones: 0, weeks: [] });
    const [left, moved] = [await merkleRoot(source.pool), await merkleRoot(target.pool)];
    t.is(moved.count, items);
    t.is(left.count + moved.count, before.count);
    t.is(BigInt(`0x${left.digest}`) ^ BigInt(`0x${moved.digest}`), BigInt(`0x${before.digest}`));
  },
);
