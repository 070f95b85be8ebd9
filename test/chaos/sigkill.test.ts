import test from 'ava';
import { foldDeltas } from '../../src/postgres/merkle-delta.ts';
import { rootOfAll } from '../../src/postgres/all-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import type { NewItem, Ticket } from '../../src/types/write.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { modelRoot, modelRows } from '../helpers/model.ts';
import type { TestOp } from '../helpers/operations.ts';
import { Random } from '../helpers/random.ts';
import { allStoredRows } from '../helpers/stored-rows.ts';
import { unfinishedJobs } from '../helpers/unfinished-jobs.ts';
import { startWorker, type WorkerProcess } from '../helpers/worker-process.ts';

const KILLS = 12;
const WRITES_A_WAVE = 1000;
const IDS = 3000;

const workers: WorkerProcess[] = [];
// Small chunks, so that every moment of a worker's life is hit.
const deployment = await createDeployment({ chunkMaxItems: 25 });
const producer = await openProducer(deployment.options);
test.after.always(async () => {
  await Promise.all(workers.map((worker) => worker.stop('SIGKILL')));
  await producer.close();
  await deployment.close();
});

test(`I1 I3 I5: workers killed ${KILLS} times under ${KILLS * WRITES_A_WAVE} writes: the rows are the last accepted writes, the tree is theirs, nothing is left over`, async (t) => {
  const env = { ...deployment.env, TIERLINE_CHUNK_LOCK_MS: '2000', TIERLINE_BATCH_MAX_ITEMS: '100' };
  workers.push(await startWorker('drain', env), await startWorker('drain', env));
  const seed = Date.now() | 0;
  t.log(`seed ${seed}`);
  const random = new Random(seed);
  const ops: TestOp[] = [];
  const tickets: Ticket[] = [];

  for (let wave = 0; wave < KILLS; wave++) {
    const accepted = await submitWave(random, ops);
    tickets.push(...accepted);
    // Dies when some write of the wave has settled, or soon: in the middle of other batches.
    await random
      .pick(accepted)
      .settled({ timeoutMs: 50 })
      .catch(() => undefined);
    const victim = wave % 2;
    await workers[victim]?.stop('SIGKILL');
    workers[victim] = await startWorker('drain', env);
  }

  const outcomes = await Promise.all(tickets.map((ticket) => ticket.settled({ timeoutMs: 60_000 })));
  t.is(outcomes.length, KILLS * WRITES_A_WAVE);
  t.deepEqual(
    outcomes.filter(({ status }) => status === 'dead'),
    [],
  );

  const { shards, redis, lanes } = deployment;
  const expected = modelRows(ops);
  t.deepEqual(await allStoredRows(shards), expected);
  t.deepEqual(await rootOfAll(shards), modelRoot(expected));
  for (const { differences } of await shards.each(({ pool }) => verifyMerkle(pool)))
    t.deepEqual(differences, []);
  await shards.each(({ pool }) => foldDeltas(pool));
  t.deepEqual(await rootOfAll(shards), modelRoot(expected), 'folded');
  for (const { inflight, pending } of lanes.keys) {
    t.is(await redis.zcard(inflight), 0);
    t.is(await redis.hlen(pending), 0);
  }
  // Settled comes before completed: a chunk whose worker died in between is still to be completed.
  await eventually(async () => (await unfinishedJobs(deployment)) === 0, 'the queue is empty');
});

/** A thousand writes in three calls of random order; each is awaited, so later calls must win (I1). */
async function submitWave(random: Random, ops: TestOp[]): Promise<Ticket[]> {
  const id = () => nameOf(random.upTo(IDS));
  const accepted: Ticket[] = [];
  const accept = (tickets: readonly Ticket[], op: (index: number) => object) =>
    tickets.forEach((ticket, i) => {
      accepted.push(ticket);
      ops.push({ id: ticket.id, stamp: ticket.version, ...op(i) } as TestOp);
    });
  const puts = async () => {
    const items = Array.from({ length: 850 }, (): NewItem => {
      const item = { id: id(), content: { value: random.next() } };
      return random.chance(0.2) ? { ...item, state: random.pick(['open', 'closed']) } : item;
    });
    const { tickets } = await producer.submitMany(items);
    accept(tickets, (i) => {
      const { content, state } = items[i] as NewItem;
      return { kind: 'json', body: JSON.stringify(content), ...(state === undefined ? {} : { state }) };
    });
  };
  const deletes = async () => {
    const { tickets } = await producer.deleteMany(Array.from({ length: 100 }, id));
    accept(tickets, () => ({ kind: 'delete' }));
  };
  const states = async () => {
    const state = random.pick(['default', 'open', 'closed']);
    accept(await Promise.all(Array.from({ length: 50 }, () => producer.setState(id(), state))), () => ({
      kind: 'state',
      state,
    }));
  };
  for (const call of random.shuffle([puts, deletes, states])) {
    const last = ops.at(-1)?.stamp ?? 0;
    const before = ops.length;
    await call();
    if (ops.slice(before).some((op) => op.stamp <= last))
      throw new Error('I1: a later call was given an older stamp');
  }
  return accepted;
}

function nameOf(n: number): string {
  return `k.${n % 20}.${n}`;
}
