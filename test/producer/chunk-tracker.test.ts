import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { keysOf } from '../../src/keys.ts';
import { createLogger } from '../../src/log.ts';
import { ChunkTracker } from '../../src/producer/chunk-tracker.ts';
import { waitFor } from '../../src/producer/ticket.ts';
import { TrackedChunk } from '../../src/producer/tracked-chunk.ts';
import type { Redis } from '../../src/redis/client.ts';

const NOT_IN_FLIGHT_AT_ENTRY_1 = [['epoch', '1'], [null], [null]];

/** Answers, when it is told to, that no chunk is in flight and that the feed has one entry. */
function heldRedis() {
  const gate = new AbortController();
  const asked = once(gate.signal, 'abort').then(() => NOT_IN_FLIGHT_AT_ENTRY_1);
  return { redis: { evalsha: () => asked } as unknown as Redis, answer: () => gate.abort() };
}

function trackerOf(
  t: ExecutionContext,
  redis: Redis,
  delivered: () => { epoch: string; number: number },
): ChunkTracker {
  const tracker = new ChunkTracker(
    redis,
    keysOf('ns'),
    createLogger('test', 'silent'),
    delivered,
    () => undefined,
  );
  t.teardown(() => tracker.close(new Error('closed')));
  return tracker;
}

for (const told of [true, false]) {
  test(`I8: a chunk that ${told ? 'the feed told of' : 'nobody told of'} while it was asked for is ${told ? 'no' : 'a'} loss`, async (t) => {
    const { redis, answer } = heldRedis();
    const tracker = trackerOf(t, redis, () => ({ epoch: 'epoch', number: 1 }));
    const chunk = new TrackedChunk('c', 100, 1, 'epoch');
    tracker.add(chunk);
    tracker.onLive();
    if (told) tracker.onEntry({ id: '1-0', jobs: '[["c",1,[]]]', changes: '' });
    answer();
    await waitFor([chunk], {});
    // After all that the answer leads to.
    await new Promise((resolve) => setImmediate(resolve));
    t.is(tracker.takeLoss() === undefined, told);
    t.is(chunk.isLost, !told);
  });
}

test('I8: a chunk that was queued and settled before the feed noticed that Redis had been emptied is no loss', async (t) => {
  const { redis, answer } = heldRedis();
  let delivered = { epoch: 'older', number: 100 };
  const tracker = trackerOf(t, redis, () => delivered);
  const chunk = new TrackedChunk('c', 100, 1, 'epoch');
  tracker.add(chunk);
  tracker.onLive();
  delivered = { epoch: 'epoch', number: 0 };
  tracker.onGap('lost');
  answer();
  await new Promise((resolve) => setImmediate(resolve));
  tracker.onEntry({ id: '1-0', jobs: '[["c",1,[]]]', changes: '' });
  delivered = { epoch: 'epoch', number: 1 };
  await waitFor([chunk], {});
  t.is(tracker.takeLoss(), undefined);
  t.false(chunk.isLost);
});
