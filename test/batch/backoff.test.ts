import test from 'ava';
import { backoffMs, retrying } from '../../src/batch/backoff.ts';

const never = new AbortController().signal;

test('pauses double up to a cap, with at most half of each left to chance', (t) => {
  for (const [attempt, ceiling] of [
    [0, 50],
    [1, 100],
    [4, 800],
    [7, 5000],
    [50, 5000],
  ] as const) {
    for (let i = 0; i < 100; i++) {
      const pause = backoffMs(attempt);
      t.true(pause >= ceiling / 2 && pause <= ceiling);
    }
  }
  t.true(new Set(Array.from({ length: 20 }, () => backoffMs(3))).size > 1, 'workers do not retry in step');
});

test('work is tried again until it succeeds, and each failure is told', async (t) => {
  const told: unknown[] = [];
  let calls = 0;
  const result = await retrying(
    async () => {
      if (++calls < 3) throw new Error(`failure ${calls}`);
      return 'done';
    },
    {
      signal: never,
      isTransient: () => true,
      onRetry: (error, attempt) => told.push([(error as Error).message, attempt]),
    },
  );
  t.is(result, 'done');
  t.deepEqual(told, [
    ['failure 1', 1],
    ['failure 2', 2],
  ]);
});

test('what is not transient is thrown at once', async (t) => {
  let calls = 0;
  const failure = new Error('for good');
  const work = retrying(
    () => {
      calls++;
      return Promise.reject(failure);
    },
    { signal: never, isTransient: (error) => error !== failure, onRetry: () => t.fail() },
  );
  t.is(await t.throwsAsync(work), failure);
  t.is(calls, 1);
});

test('I12: the signal ends a pause, and the last error is thrown', async (t) => {
  const stop = new AbortController();
  let calls = 0;
  const work = retrying(() => Promise.reject(new Error(`failure ${++calls}`)), {
    signal: stop.signal,
    isTransient: () => true,
    onRetry: (_error, attempt) => {
      if (attempt === 2) queueMicrotask(() => stop.abort());
    },
  });
  const error = await t.throwsAsync(work);
  t.is(error?.message, `failure ${calls}`);
  t.is(calls, 3);
});
