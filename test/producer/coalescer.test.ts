import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import { BackpressureError } from '../../src/errors.ts';
import { Coalescer } from '../../src/producer/coalescer.ts';
import {
  deleteOperation,
  putOperation,
  type SizedOperation,
  stateOperation,
} from '../../src/producer/parsed-call.ts';
import { parseNewItem } from '../../src/schema/item.ts';
import { TrackedChunk } from '../../src/producer/tracked-chunk.ts';
import { eventually } from '../helpers/eventually.ts';

/** A coalescer whose chunks arrive, or find the queue full, when the test says so. */
function setUp(chunkWaitMs: number) {
  const sent: {
    readonly ids: readonly string[];
    readonly arrive: () => void;
    readonly refuse: () => void;
  }[] = [];
  const queued: string[] = [];
  const refused: string[] = [];
  const coalescer = new Coalescer(
    { chunkMaxItems: 3, chunkMaxBytes: 10_000, chunkWaitMs },
    (operations) =>
      new Promise((resolve, reject) => {
        const ids = operations.map(({ id }) => id);
        sent.push({
          ids,
          arrive: () => resolve(new TrackedChunk(ids.join(), 1, ids.length, 'epoch')),
          refuse: () => reject(new BackpressureError({ of: 'items', max: 1, measured: 2 }, 1)),
        });
      }),
  );
  const add = (operation: SizedOperation) =>
    coalescer.add(
      operation,
      { queued: () => queued.push(operation.id), refused: () => refused.push(operation.id) },
      0,
    );
  const submit = (id: string) =>
    add(putOperation(parseNewItem({ id, content: 1 }, 1000), 'all', undefined, undefined));
  const remove = (id: string) => add(deleteOperation(id));
  const setState = (id: string) => add(stateOperation(id, 'kept'));
  return {
    coalescer,
    submit,
    remove,
    setState,
    queued,
    refused,
    sent,
    ids: () => sent.map(({ ids }) => ids),
  };
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

test('I1: a delete out of a refused chunk is sent again, unless a later chunk that was sent meanwhile has its id', async (t) => {
  const { submit, remove, queued, refused, sent, ids } = setUp(LONG_MS);
  for (const call of [() => submit('a'), () => remove('x'), () => remove('y')]) call();
  for (const call of [() => submit('b'), () => submit('x'), () => remove('z')]) call();
  t.deepEqual(ids(), [
    ['a', 'x', 'y'],
    ['b', 'x', 'z'],
  ]);
  sent[0]?.refuse();
  sent[1]?.arrive();
  await eventually(() => sent.length === 3 && queued.length === 3, 'one is refused, the other arrives');
  t.deepEqual(ids()[2], ['y'], 'deleted now, x would take what came after');
  t.deepEqual(refused, ['a', 'x']);
  sent[2]?.arrive();
  await eventually(() => queued.length === 4, 'the delete is queued');
  t.deepEqual(queued, ['b', 'x', 'z', 'y']);
});

test('I1: nothing of a refused chunk is sent again behind a range delete that was called after it', async (t) => {
  const { coalescer, submit, remove, setState, queued, refused, sent, ids } = setUp(LONG_MS);
  submit('a');
  setState('x');
  coalescer.flushBeforeRange();
  submit('b');
  setState('y');
  coalescer.flush();
  t.deepEqual(ids(), [
    ['a', 'x'],
    ['b', 'y'],
  ]);
  for (const chunk of sent) chunk.refuse();
  await eventually(() => sent.length === 3, 'what came after the range is sent again');
  t.deepEqual(ids()[2], ['y']);
  t.deepEqual(refused, ['a', 'x', 'b']);
  remove('z');
  sent[2]?.arrive();
  await eventually(() => sent.length === 4, 'the next one goes');
  sent[3]?.arrive();
  await coalescer.arrivals();
  t.deepEqual(queued, ['y', 'z']);
});

test('I12: a chunk has arrived only when what was sent again out of it has', async (t) => {
  const { coalescer, submit, remove, queued, refused, sent } = setUp(LONG_MS);
  submit('a');
  remove('x');
  coalescer.flush();
  const arrived = coalescer.arrivals().then(() => [...queued, ...refused]);
  sent[0]?.refuse();
  await eventually(() => sent.length === 2, 'the delete is sent again');
  sent[1]?.arrive();
  t.deepEqual(await arrived, ['x', 'a']);
});

test('what a refused chunk held back goes alone once it has been refused', async (t) => {
  const { submit, remove, sent, ids, refused } = setUp(LONG_MS);
  submit('a');
  await eventually(() => sent.length === 1, 'the chunk goes');
  remove('b');
  sent[0]?.refuse();
  await eventually(() => sent.length === 2, 'the next one goes');
  t.deepEqual(ids(), [['a'], ['b']]);
  t.deepEqual(refused, ['a']);
});
