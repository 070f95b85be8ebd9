import test, { type ExecutionContext } from 'ava';
import type { Chunk } from '../../src/batch/fold.ts';
import { BatchWriter } from '../../src/drain/batch-writer.ts';
import { type DrainObserver, UNOBSERVED_DRAIN } from '../../src/drain/writer-parts.ts';
import { replayChunkId } from '../../src/schema/job.ts';
import { type CopyFate, ItemStore } from '../../src/redis/item-store.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';
import { chunkOf } from '../helpers/operations.ts';
import { refusePoison } from '../helpers/poison.ts';
import { writerOf, writerPartsOf } from '../helpers/writer.ts';

const FIRST = 1_795_000_000_000_000;

async function setUp(t: ExecutionContext): Promise<Deployment> {
  const deployment = await createDeployment(ONE_LANE);
  t.teardown(() => deployment.close());
  return deployment;
}

test('I9: the same refused operation twice in one batch is one dead letter, and its batch settles', async (t) => {
  const deployment = await setUp(t);
  await refusePoison(deployment.pool);
  const poison = () => chunkOf([{ id: 'bad', stamp: FIRST, kind: 'json', body: '"poison"' }]);
  const good = chunkOf([{ id: 'good', stamp: FIRST + 1, kind: 'json', body: '1' }]);
  t.deepEqual(await writerOf(deployment).write([poison(), good, poison()]), [
    'settled',
    'settled',
    'settled',
  ]);
  const { rows } = await deployment.pool.query('SELECT item_id, stamp FROM dead_letters');
  t.deepEqual(rows, [{ item_id: 'bad', stamp: FIRST }]);
  t.is((await deployment.pool.query('SELECT FROM items')).rowCount, 1);
});

test('a replayed dead letter, whose stamp is of long ago, counts no latency', async (t) => {
  const deployment = await setUp(t);
  const counts: number[] = [];
  const observer: DrainObserver = {
    ...UNOBSERVED_DRAIN,
    batchWritten: ({ settleLatencyMs }) => void counts.push(settleLatencyMs.length),
  };
  const writer = new BatchWriter({ ...writerPartsOf(deployment), observer });
  const chunk = chunkOf([{ id: 'a', stamp: FIRST, kind: 'json', body: '1' }]);
  await writer.write([{ ...chunk, chunkId: replayChunkId('x') }]);
  await writer.write([chunkOf([{ id: 'a', stamp: FIRST + 1, kind: 'json', body: '2' }])]);
  t.deepEqual(counts, [0, 1]);
});

/** Runs something once, just before copies go to L2. */
class MeddlingStore extends ItemStore {
  meddle: (() => Promise<unknown>) | undefined;

  override async setNewer(...given: Parameters<ItemStore['setNewer']>): Promise<CopyFate[]> {
    const meddle = this.meddle;
    this.meddle = undefined;
    await meddle?.();
    return super.setNewer(...given);
  }
}

test('a state set for an item whose earlier write settles in the middle is not called missing', async (t) => {
  const deployment = await setUp(t);
  const { redis, keys } = deployment;
  const noted = async (chunk: Chunk) => {
    await redis.zadd(keys.inflight, chunk.job.first, chunk.chunkId);
    return chunk;
  };
  const earlier = await noted(chunkOf([{ id: 'x', stamp: FIRST, kind: 'json', body: '1' }]));
  const state = await noted(chunkOf([{ id: 'x', stamp: FIRST + 1, kind: 'state', state: 'open' }]));
  const items = new MeddlingStore(deployment.generation);
  items.meddle = () => writerOf(deployment).write([earlier]);
  const writer = new BatchWriter({ ...writerPartsOf(deployment), items });
  t.deepEqual(await writer.write([state]), [{ chunks: state.job.first, ranges: 0 }]);
  t.deepEqual(await writer.write([state]), ['settled']);
  t.is(await redis.get(keys.outcome(state.chunkId)), null, 'applied');
  t.is((await deployment.pool.query<{ state: string }>('SELECT state FROM items')).rows[0]?.state, 'open');
});
