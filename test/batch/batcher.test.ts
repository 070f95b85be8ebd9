import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import { Batcher, type BatcherOptions } from '../../src/batch/batcher.ts';
import { eventually } from '../helpers/eventually.ts';

interface Held {
  readonly entries: readonly number[];
  readonly release: (error?: Error) => void;
}

/** A batcher of numbers, each as large as its value, whose writes end when the test says so. */
function setUp(options: Partial<BatcherOptions<number, string>> = {}) {
  const held: Held[] = [];
  const batcher = new Batcher<number, string>({
    maxItems: 10,
    maxBytes: 1000,
    // Nothing below waits for this.
    waitMs: 60_000,
    maxInFlight: 1,
    sizeOf: (entry) => ({ items: 1, bytes: entry }),
    write: (entries) =>
      new Promise((resolve, reject) => {
        const results = entries.map((entry) => `wrote ${entry}`);
        held.push({ entries, release: (error) => (error === undefined ? resolve(results) : reject(error)) });
      }),
    ...options,
  });
  return { batcher, held };
}

const written = (held: readonly Held[]) => held.map(({ entries }) => entries);

test('a full batch goes out at once, in the order of its entries, and each hears its own result', async (t) => {
  const { batcher, held } = setUp({ maxItems: 3 });
  const added = [1, 2, 3].map((entry) => batcher.add(entry));
  t.deepEqual(written(held), [[1, 2, 3]]);
  held[0]?.release();
  t.deepEqual(await Promise.all(added), ['wrote 1', 'wrote 2', 'wrote 3']);
});

test('with nothing being written, what comes in one turn of the event loop goes out as one batch, without waiting', async (t) => {
  const { batcher, held } = setUp({ maxInFlight: 2 });
  const added = [batcher.add(1), batcher.add(2)];
  t.deepEqual(written(held), []);
  await eventually(() => held.length === 1, 'the batch goes out');
  t.deepEqual(written(held), [[1, 2]]);
  added.push(batcher.add(3));
  await setImmediate();
  added.push(batcher.add(4));
  await setImmediate();
  t.is(held.length, 1, 'the next one collects meanwhile');
  held[0]?.release();
  await eventually(() => held.length === 2, 'nothing is being written again');
  t.deepEqual(held[1]?.entries, [3, 4]);
  held[1]?.release();
  await Promise.all(added);
});

test('while a batch is being written, the first entry of the next waits no longer than waitMs for others', async (t) => {
  const { batcher, held } = setUp({ waitMs: 1, maxInFlight: 2 });
  const added = [batcher.add(1)];
  await eventually(() => held.length === 1, 'the first batch goes out');
  added.push(batcher.add(2), batcher.add(3));
  await eventually(() => held.length === 2, 'the second one goes out beside it');
  t.deepEqual(written(held), [[1], [2, 3]]);
  for (const { release } of held) release();
  await Promise.all(added);
});

test('I10: a batch keeps to its items and bytes; a larger entry is a batch of its own', async (t) => {
  const { batcher, held } = setUp({ maxItems: 3, maxBytes: 10, maxInFlight: 100 });
  const added = [5, 4, 3, 25, 1, 1, 1, 1, 9].map((entry) => batcher.add(entry));
  t.deepEqual(written(held), [[5, 4], [3], [25], [1, 1, 1], [1, 9]]);
  for (const { release } of held) release();
  await Promise.all(added);
});

test('I10: no more than maxInFlight batches are written at once; the next grow meanwhile', async (t) => {
  const { batcher, held } = setUp({ maxItems: 4, maxInFlight: 2 });
  const added = Array.from({ length: 14 }, (_, i) => batcher.add(i));
  t.is(held.length, 2);
  held[1]?.release();
  await eventually(() => held.length === 3, 'room for the third');
  held[0]?.release();
  held[2]?.release();
  await Promise.all(added.slice(0, 12));
  t.deepEqual(written(held), [
    [0, 1, 2, 3],
    [4, 5, 6, 7],
    [8, 9, 10, 11],
  ]);
  added.push(batcher.add(14), batcher.add(15));
  t.deepEqual(held[3]?.entries, [12, 13, 14, 15]);
  held[3]?.release();
  await Promise.all(added);
});

test('I8: a write that fails is told to every entry of its batch, and to no other', async (t) => {
  const { batcher, held } = setUp({ maxItems: 2, maxInFlight: 2 });
  const added = [1, 2, 3, 4].map((entry) => batcher.add(entry));
  const failure = new Error('refused');
  held[0]?.release(failure);
  held[1]?.release();
  const results = await Promise.allSettled(added);
  t.deepEqual(
    results.map((result) => (result.status === 'rejected' ? result.reason : result.value)),
    [failure, failure, 'wrote 3', 'wrote 4'],
  );
});
