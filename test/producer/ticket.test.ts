import test from 'ava';
import { SettleTimeoutError } from '../../src/errors.ts';
import { ChunkTicket, waitFor } from '../../src/producer/ticket.ts';
import { TrackedChunk } from '../../src/producer/tracked-chunk.ts';
import type { EndedWaitsReport } from '../helpers/ended-waits.ts';
import { runInHeap } from '../helpers/heap-use.ts';

test('I10: a wait that timed out or was aborted leaves nothing behind, however long its chunk stays open', async (t) => {
  const { ended, held } = await runInHeap<EndedWaitsReport>('ended-waits.js', [], {
    env: process.env,
  });
  t.log(`of ${ended} waits ${held} are held`);
  t.true(held < ended / 10);
});

test('a wait ends with the last of its chunks, whoever else gave up waiting for them', async (t) => {
  const [first, second] = [1, 3].map((stamp) => new TrackedChunk(`${stamp}`, stamp, 2, 'epoch')) as [
    TrackedChunk,
    TrackedChunk,
  ];
  let isOver = false;
  const both = waitFor([first, second], {}).then(() => void (isOver = true));
  const one = new ChunkTicket('a', first, 1).settled();
  await t.throwsAsync(waitFor([first, second], { timeoutMs: 1 }), { instanceOf: SettleTimeoutError });
  first.settle({});
  t.deepEqual(await one, { status: 'applied', version: 2 });
  t.false(isOver);
  second.fail(new Error('lost'));
  await both;
  await waitFor([first, second], {});
  t.true(second.isLost);
});
