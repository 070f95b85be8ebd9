import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import { Coalescer } from '../../src/producer/coalescer.ts';
import { deleteOperation } from '../../src/producer/operation.ts';
import { TrackedChunk } from '../../src/producer/ticket.ts';
import { eventually } from '../helpers/eventually.ts';

/** A coalescer whose chunks arrive when the test says so. */
function setUp(chunkWaitMs: number) {
  const sent: { readonly ids: readonly string[]; readonly arrive: () => void }[] = [];
  const queued: string[] = [];
  const coalescer = new Coalescer(
    { chunkMaxItems: 3, chunkMaxBytes: 10_000, chunkWaitMs },
    (operations) =>
      new Promise((resolve) => {
        const ids = operations.map(({ id }) => id);
        sent.push({ ids, arrive: () => resolve(new TrackedChunk(ids.join(), 1, ids.length, 'epoch')) });
      }),
  );
  const submit = (id: string) =>
    coalescer.add(
      deleteOperation(id),
      { queued: () => queued.push(id), refused: (_, error) => queued.push(String(error)) },
      0,
    );
  return { submit, queued, sent, ids: () => sent.map(({ ids }) => ids) };
}

/** Nothing below waits for it. */
const LONG_MS = 60_000;

test('operations of one turn of the event loop share a chunk, which goes without waiting for more', async (t) => {
  const { submit, sent, ids, queued } = setUp(LONG_MS);
  submit('a');
  submit('b');
  t.deepEqual(ids(), []);
  await eventually(() => sent.length === 1, 'the chunk goes');
  t.deepEqual(ids(), [['a', 'b']]);
  sent[0]?.arrive();
  await eventually(() => queued.length === 2, 'both are queued');
});

test('while a chunk is on its way operations are gathered, and they go when it has arrived', async (t) => {
  const { submit, sent, ids } = setUp(LONG_MS);
  submit('a');
  await eventually(() => sent.length === 1, 'the first chunk goes');
  submit('b');
  await setImmediate();
  submit('c');
  await setImmediate();
  t.deepEqual(ids(), [['a']]);
  sent[0]?.arrive();
  await eventually(() => sent.length === 2, 'the second one goes');
  t.deepEqual(ids(), [['a'], ['b', 'c']]);
});

test('operations are gathered no longer than chunkWaitMs, and a full chunk goes at once', async (t) => {
  const { submit, sent, ids } = setUp(1);
  submit('a');
  await eventually(() => sent.length === 1, 'the first chunk goes');
  submit('b');
  await eventually(() => sent.length === 2, 'the second one goes beside it');
  for (const id of ['c', 'd', 'e']) submit(id);
  t.deepEqual(ids(), [['a'], ['b'], ['c', 'd', 'e']]);
});
