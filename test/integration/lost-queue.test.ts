import test, { type ExecutionContext } from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { JobRefusedError, QueueLostError } from '../../src/errors.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { TrackedChunk } from '../../src/producer/tracked-chunk.ts';

import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { startProxy } from '../helpers/proxy.ts';
import { closing } from '../helpers/setting.ts';
import { keysLike } from '../helpers/redis-keys.ts';

async function setUp(t: ExecutionContext) {
  const deployment = closing(t, await createDeployment(ONE_LANE));
  const relay = closing(t, await startProxy(deployment.options.redisUrl));
  const producer = closing(t, await openProducer({ ...deployment.options, redisUrl: relay.url }));
  return {
    deployment,
    relay,
    producer,
    /** What a Redis forgets that comes back without its last second: the chunk, and no entry of the feed. */
    async forgetChunks() {
      const { redis, keys } = deployment;
      const jobs = await keysLike(redis, `${keys.queuePrefix}:writes:*`);
      await redis.del(keys.inflight, keys.pending, ...jobs);
    },
  };
}

test('I3 I8: a write that Redis forgot, its epoch and feed being as they were, is lost and not waited for', async (t) => {
  const { deployment, relay, producer, forgetChunks } = await setUp(t);
  const drain = await startDrain(deployment.options);
  await (await producer.submit({ id: 'before', content: 1 })).settled();
  await drain.close();
  const ticket = await producer.submit({ id: 'a', content: 1 });
  const settled = t.throwsAsync(ticket.settled(), { instanceOf: QueueLostError });
  await forgetChunks();
  relay.cut();
  await settled;
});

test('I8: a write that is still queued survives the same cut', async (t) => {
  const { deployment, relay, producer } = await setUp(t);
  const ticket = await producer.submit({ id: 'a', content: 1 });
  relay.cut();
  closing(t, await startDrain(deployment.options));
  t.is((await ticket.settled()).status, 'applied');
});

test('I8: a flush tells once of writes that were found lost before it', async (t) => {
  const { relay, producer, forgetChunks } = await setUp(t);
  const ticket = await producer.submit({ id: 'a', content: 1 });
  await forgetChunks();
  relay.cut();
  await t.throwsAsync(ticket.settled(), { instanceOf: QueueLostError });
  await t.throwsAsync(producer.flush(), { instanceOf: QueueLostError });
  await t.notThrowsAsync(producer.flush());
});

test('I8: a job that no worker could read is told to all who wait for it, and never called applied', (t) => {
  const chunk = new TrackedChunk('chunk', 100, 3, 'epoch');
  chunk.settle({ refused: 'another format' });
  t.deepEqual(chunk.outcomeOf(2), { status: 'dead', version: 102, reason: 'another format' });
  t.throws(() => chunk.rangeOutcome(), { instanceOf: JobRefusedError, message: /another format/ });
});
