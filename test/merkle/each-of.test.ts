import test from 'ava';
import { eachOf } from '../../src/merkle/repair.ts';

/** Work that ends when it is told to. */
function controlled() {
  const begun: number[] = [];
  const ends = new Map<number, (error?: Error) => void>();
  const work = (value: number) =>
    new Promise<void>((resolve, reject) => {
      begun.push(value);
      ends.set(value, (error) => (error === undefined ? resolve() : reject(error)));
    });
  return { begun, work, end: (value: number, error?: Error) => ends.get(value)?.(error) };
}

async function* numbers(count: number): AsyncGenerator<number> {
  for (let n = 1; n <= count; n++) yield n;
}

async function* failing(): AsyncGenerator<number> {
  yield* numbers(2);
  throw new Error('the search fails');
}

/** Lets everything go on that waits for nothing but promises. */
const tick = () => new Promise((resolve) => setImmediate(resolve));

test('I10: so much is worked on at once and no more, and a value begins as soon as another ends', async (t) => {
  const { begun, work, end } = controlled();
  const all = eachOf(numbers(5), 2, work);
  await tick();
  t.deepEqual(begun, [1, 2]);
  end(2);
  await tick();
  t.deepEqual(begun, [1, 2, 3]);
  for (const value of [3, 1]) end(value);
  await tick();
  t.deepEqual(begun, [1, 2, 3, 4, 5]);
  for (const value of [4, 5]) end(value);
  await all;
});

test('I8: the first error is thrown once what has begun is over, and nothing begins after it', async (t) => {
  const { begun, work, end } = controlled();
  let isOver = false;
  const all = eachOf(numbers(9), 3, work).finally(() => {
    isOver = true;
  });
  await tick();
  end(2, new Error('second'));
  await tick();
  end(3, new Error('third'));
  await tick();
  t.false(isOver);
  end(1);
  await t.throwsAsync(all, { message: 'second' });
  t.deepEqual(begun, [1, 2, 3]);
});

test('I8: an error of the search is thrown once what has begun is over', async (t) => {
  const { begun, work, end } = controlled();
  let isOver = false;
  const all = eachOf(failing(), 5, work).finally(() => {
    isOver = true;
  });
  await tick();
  t.deepEqual(begun, [1, 2]);
  end(1);
  await tick();
  t.false(isOver);
  end(2);
  await t.throwsAsync(all, { message: 'the search fails' });
});
