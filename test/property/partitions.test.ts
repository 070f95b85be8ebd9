import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { Queue } from 'bullmq';
import { startDrain } from '../../src/drain/start-drain.ts';
import { RANGES_QUEUE, WRITES_QUEUE } from '../../src/keys.ts';
import { foldDeltas } from '../../src/postgres/merkle-delta.ts';
import { compareIds } from '../../src/postgres/all-items.ts';
import { rootOfAll } from '../../src/postgres/all-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { CHUNK_JOB, RANGE_JOB, WRITE_JOB_OPTIONS } from '../../src/schema/job.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/types/read.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { collect } from '../helpers/history-actor.ts';
import { modelRoot, modelRows } from '../helpers/model.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { Random } from '../helpers/random.ts';
import { expandRanges, type MixedOp } from '../helpers/range-model.ts';
import { storedRows } from '../helpers/stored-rows.ts';

/** Partitions, and the names of the shards that have them; one shard has no name. */
const SHAPES: readonly (readonly [partitions: number, shards: readonly string[] | undefined])[] = [
  [1, undefined],
  [2, undefined],
  [8, undefined],
  [1, ['a', 'b']],
  [2, ['a', 'b']],
  [8, ['a', 'b']],
];
const RUNS = Number(process.env['SOAK_PARTITIONS'] ?? 2);
const IDS = [
  ...Array.from({ length: 24 }, (_, i) => `a.${i % 3}.${i}`),
  ...Array.from({ length: 6 }, (_, i) => `{order.${i % 2}}.line.${i}`),
  '}{',
  '{}{x}',
  'ünï.✓',
];
const PREFIXES = ['a.0.', 'a.1.', '{order.1}', 'ünï'];
const STATES = ['open', 'shut', 'default'];

async function deploymentsOf(t: ExecutionContext): Promise<Deployment[]> {
  const deployments = await Promise.all(
    SHAPES.map(([partitions, shards]) => createDeployment({ partitions }, shards)),
  );
  t.teardown(() => Promise.all(deployments.map((deployment) => deployment.close())));
  return deployments;
}

/** Operations with stamps of their own, as if one clock had given them, in steps: each has settled before the next begins. */
function stampedSteps(random: Random): MixedOp[][] {
  let stamp = 1_795_000_000_000_000 + random.upTo(1_000_000);
  return Array.from({ length: 6 }, (_, step) => {
    if (step % 2 === 1) {
      const range = random.chance(0.5)
        ? { kind: 'prefix' as const, value: random.pick(PREFIXES) }
        : { kind: 'state' as const, value: random.pick(STATES) };
      return [{ v: 1, ...range, stamp: stamp++ }];
    }
    return Array.from({ length: 40 }, (): TestOp => {
      const op = { id: random.pick(IDS), stamp: stamp++ };
      const dice = random.next();
      if (dice < 0.2) return { ...op, kind: 'delete' };
      if (dice < 0.4) return { ...op, kind: 'state', state: random.pick(STATES) };
      const body = String(op.stamp);
      return dice < 0.7
        ? { ...op, kind: 'json', body }
        : { ...op, kind: 'json', body, state: random.pick(STATES) };
    });
  });
}

async function hasJobs(queue: Queue): Promise<boolean> {
  const counts = await queue.getJobCounts('waiting', 'active', 'delayed', 'failed');
  return Object.values(counts).some((jobs) => jobs > 0);
}

/** Puts the operations of each step into the queues of their partitions, in any order. */
async function settleSteps({ lanes, redis }: Deployment, steps: readonly MixedOp[][], random: Random) {
  const queuesOf = (name: string) =>
    lanes.keys.map((keys) => new Queue(name, { connection: redis, prefix: keys.queuePrefix }));
  const [writes, ranges] = [queuesOf(WRITES_QUEUE), queuesOf(RANGES_QUEUE)];
  for (const step of steps) {
    for (const op of random.shuffle([...step])) {
      if ('value' in op) {
        for (const queue of ranges)
          await queue.add(RANGE_JOB, op, { ...WRITE_JOB_OPTIONS, jobId: randomUUID() });
      } else {
        const { chunkId, job } = chunkOf([op]);
        await writes[lanes.of(op.id)]?.add(CHUNK_JOB, job, { ...WRITE_JOB_OPTIONS, jobId: chunkId });
      }
    }
    await eventually(
      async () => !(await Promise.all([...writes, ...ranges].map(hasJobs))).includes(true),
      'all jobs of the step are done',
      60_000,
    );
  }
  await Promise.all([...writes, ...ranges].map((queue) => queue.close()));
}

test('I2 I5: the same stamped operations end in the same rows, counts and Merkle root, whatever the numbers of partitions and shards', async (t) => {
  const deployments = await deploymentsOf(t);
  const drains = await Promise.all(deployments.map(({ options }) => startDrain(options)));
  t.teardown(() => Promise.all(drains.map((drain) => drain.close())));
  for (let run = 0; run < RUNS; run++) {
    const seed = Date.now() % 1_000_000;
    const steps = stampedSteps(new Random(seed));
    const rows = modelRows(expandRanges(steps.flat()));
    for (const deployment of deployments) {
      const what = `seed ${seed}, ${deployment.lanes.count} partitions, ${deployment.shards.all.length} shards`;
      const { shards } = deployment;
      await shards.each(({ pool }) =>
        pool.query('TRUNCATE items, merkle_leaf, merkle_path, merkle_delta, range_deletes'),
      );
      await settleSteps(deployment, steps, new Random(seed + deployment.lanes.count));
      const stored = (await shards.each(({ pool }) => storedRows(pool))).flat();
      t.deepEqual(
        stored.toSorted((a, b) => compareIds(a.id, b.id)),
        rows,
        what,
      );
      t.deepEqual(await rootOfAll(shards), modelRoot(rows), what);
      await shards.each(({ pool }) => foldDeltas(pool));
      t.deepEqual(await rootOfAll(shards), modelRoot(rows), what);
      for (const { differences } of await shards.each(({ pool }) => verifyMerkle(pool)))
        t.deepEqual(differences, [], what);
    }
  }
});

/** One call after the other, each settled, so that every deployment does the same. */
async function actAlike(store: Store, random: Random): Promise<unknown[]> {
  const told: unknown[] = [];
  for (let n = 0; n < 60; n++) {
    const dice = random.next();
    const id = random.pick(IDS);
    const state = random.pick(STATES);
    if (dice < 0.4) {
      const items = random
        .shuffle([...IDS])
        .slice(0, 5)
        .map((each) => ({ id: each, content: n, state }));
      const { succeeded, failed } = await (await store.submitMany(items)).settled();
      told.push([succeeded, failed]);
    } else if (dice < 0.55) told.push((await (await store.delete(id)).settled()).status);
    else if (dice < 0.75) told.push((await (await store.setState(id, state)).settled()).status);
    else if (dice < 0.85) told.push(await (await store.deletePrefix(random.pick(PREFIXES))).settled());
    else if (dice < 0.9) told.push(await (await store.deleteByState(state)).settled());
    else {
      const tag = `{order.${random.upTo(1)}}`;
      const items = [0, 1, 2].map((i) => ({ id: `${tag}.line.${i}`, content: n }));
      told.push((await (await store.submitMany(items, { atomic: true })).settled()).succeeded);
    }
  }
  return told;
}

test('the same calls have the same outcomes and leave the same items, whatever the numbers of partitions and shards', async (t) => {
  const deployments = await deploymentsOf(t);
  const seed = Date.now() % 1_000_000;
  const ends = [];
  for (const { options } of deployments) {
    await using drain = await startDrain(options);
    await using store = await openStore(options);
    const told = await actAlike(store, new Random(seed));
    const items = (await collect(store.scanPrefix(''))).map(({ id, content, state }) => ({
      id,
      content,
      state,
    }));
    const counts = [];
    for (const state of STATES) counts.push(await store.countByState(state));
    for (const prefix of PREFIXES) counts.push(await store.countPrefix(prefix));
    const there = [];
    for (const id of IDS) there.push(await store.contains(id));
    const { count } = await store.merkle.root();
    ends.push({ told, items, counts, there, count, differences: (await store.merkle.verify()).differences });
    await drain.close();
  }
  for (const end of ends) t.deepEqual(end, ends[0], `seed ${seed}`);
  t.deepEqual(ends[0]?.differences, []);
});
