import test, { type ExecutionContext } from 'ava';
import { MoveError } from '../../src/errors.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { hashSpanOf } from '../../src/lanes.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { PartitionMove } from '../../src/maintenance/partition-move.ts';
import { readDeployment, storeMap } from '../../src/postgres/deployment.ts';
import { endSwitch, levelMaps } from '../../src/postgres/map-changes.ts';
import { purgeTombstones } from '../../src/postgres/merkle-delta.ts';
import { merkleRoot } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { partitionNode } from '../../src/postgres/partition-rows.ts';
import { Shards } from '../../src/postgres/shards.ts';
import { type MoveStep, type ShardMap, withMove } from '../../src/shard-map.ts';
import { openStore } from '../../src/store/open-store.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { storedRows } from '../helpers/stored-rows.ts';

const PARTITIONS = 4;
const ITEMS = 3000;

/** Partitions 0 and 1 are at a, 2 and 3 at b; there are live items and tombstones. */
async function deploymentWithItems(t: ExecutionContext): Promise<Deployment> {
  const deployment = await createDeployment({ partitions: PARTITIONS }, ['a', 'b']);
  t.teardown(() => deployment.close());
  await using store = await openStore(deployment.options);
  await using _drain = await startDrain(deployment.options);
  const items = Array.from({ length: ITEMS }, (_, i) => ({ id: `k.${i % 7}.${i}`, content: i }));
  await (await store.submitMany(items)).settled();
  await (await store.deleteMany(items.slice(0, 300).map(({ id }) => id))).settled();
  return deployment;
}

function moveOf({ shards, log }: Deployment, partition: number, steps: MoveStep[] = []): PartitionMove {
  return new PartitionMove(shards, partition, log, ({ step }) => {
    if (steps.at(-1) !== step) steps.push(step);
  });
}

async function nodesOf({ shards }: Deployment, partition: number) {
  const nodes = await shards.each(({ pool }) => partitionNode(pool, hashSpanOf(partition, PARTITIONS)));
  return nodes.map(({ items, tombstones }) => ({ items, tombstones }));
}

async function rowsOfAll({ shards }: Deployment) {
  const lists = await shards.each(({ pool }) => storedRows(pool));
  return lists.flat().toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

async function rootOfAll({ shards }: Deployment) {
  const roots = await shards.each(({ pool }) => merkleRoot(pool));
  return {
    count: roots.reduce((sum, { count }) => sum + count, 0),
    digest: roots.reduce((sum, { digest }) => sum ^ BigInt(`0x${digest}`), 0n),
  };
}

async function mapsOf({ shards }: Deployment): Promise<ShardMap[]> {
  return (await shards.each(({ pool }) => readDeployment(pool))).map(({ map }) => map as ShardMap);
}

async function assertTreesTrue(t: ExecutionContext, { shards }: Deployment): Promise<void> {
  const found = await shards.each(({ pool }) => verifyMerkle(pool));
  t.deepEqual(
    found.flatMap(({ differences }) => differences),
    [],
  );
}

const NONE = { items: 0, tombstones: 0 };

test.serial(
  'I2 I5: a partition moves there and back: all rows are as they were, both trees are true, and the roots have the same sum',
  async (t) => {
    const deployment = await deploymentWithItems(t);
    const rows = await rowsOfAll(deployment);
    const root = await rootOfAll(deployment);
    const [node] = await nodesOf(deployment, 1);
    const steps: MoveStep[] = [];
    t.is(await moveOf(deployment, 1, steps).to('b'), 'a');
    t.deepEqual(steps, ['copy', 'empty']);
    t.deepEqual(await nodesOf(deployment, 1), [NONE, node]);
    for (const map of await mapsOf(deployment)) {
      t.deepEqual([map.owners, map.move], [['a', 'b', 'b', 'b'], undefined]);
    }
    await assertTreesTrue(t, deployment);
    t.is(await moveOf(deployment, 1).to('a'), 'b');
    t.deepEqual(await nodesOf(deployment, 1), [node, NONE]);
    await assertTreesTrue(t, deployment);
    t.deepEqual(await rowsOfAll(deployment), rows);
    t.deepEqual(await rootOfAll(deployment), root);
  },
);

test.serial('a move that was left in any of its steps goes on from there', async (t) => {
  const deployment = await deploymentWithItems(t);
  const rows = await rowsOfAll(deployment);
  const { shards } = deployment;
  const [a, b] = shards.all as [(typeof shards.all)[0], (typeof shards.all)[0]];
  const start = await levelMaps(shards);
  const move = { partition: 0, from: 'a', to: 'b', step: 'copy' } as const;
  const copying = withMove(start, move);
  // Only the first shard knows of it: the process died before it told the others.
  t.true(await storeMap(a.pool, copying, start.version));
  await moveOf(deployment, 0).to('b');
  t.deepEqual(await nodesOf(deployment, 0).then(([left]) => left), NONE);
  t.deepEqual(await rowsOfAll(deployment), rows);

  // Now back, and the process dies when only the new owner knows of the switch.
  const back = withMove(await levelMaps(shards), { ...move, from: 'b', to: 'a' });
  await storeMap(a.pool, back);
  await storeMap(b.pool, back);
  const stopped = new PartitionMove(shards, 0, deployment.log, ({ step }) => {
    if (step === 'copy') return;
    throw new Error('died');
  });
  await t.throwsAsync(stopped.to('a'), { message: /died/ });
  const [left] = (await nodesOf(deployment, 0)).toReversed();
  t.not(left?.items, 0, 'it died before it had emptied b');
  await moveOf(deployment, 0).to('a');
  t.deepEqual(await rowsOfAll(deployment), rows);
  await assertTreesTrue(t, deployment);
});

test.serial('I3: a switch that was left half done ends without its process', async (t) => {
  const deployment = await deploymentWithItems(t);
  const { shards } = deployment;
  const move = { partition: 0, from: 'a', to: 'b', step: 'copy' } as const;
  const copying = withMove(await levelMaps(shards), move);
  await shards.each(({ pool }) => storeMap(pool, copying));
  await endSwitch(shards);
  t.is((await levelMaps(shards)).move?.step, 'copy', 'nobody but the command ends a copy');
  await storeMap(
    (shards.all[1] as (typeof shards.all)[0]).pool,
    withMove(copying, { ...move, step: 'switch' }),
  );
  await endSwitch(shards);
  for (const map of await mapsOf(deployment)) t.is(map.owners[0], 'b');
  t.is((await levelMaps(shards)).move?.step, 'empty');
});

test.serial('a move is undone before its switch, and not after it', async (t) => {
  const deployment = await deploymentWithItems(t);
  const rows = await rowsOfAll(deployment);
  const [node] = await nodesOf(deployment, 0);
  const { shards } = deployment;
  await t.throwsAsync(moveOf(deployment, 0).undo(), { instanceOf: MoveError, message: /nothing to undo/ });
  let slices = 0;
  const stopped = new PartitionMove(shards, 0, deployment.log, () => {
    if (++slices === 2) throw new Error('died');
  });
  await t.throwsAsync(stopped.to('b'), { message: /died/ });
  t.is((await levelMaps(shards)).move?.step, 'copy');
  t.is(await moveOf(deployment, 0).undo(), 'a');
  t.deepEqual(await nodesOf(deployment, 0), [node, NONE]);
  t.deepEqual(await rowsOfAll(deployment), rows);
  await assertTreesTrue(t, deployment);
  t.is((await levelMaps(shards)).move, undefined);

  const map = withMove(await levelMaps(shards), { partition: 0, from: 'a', to: 'b', step: 'switch' });
  await shards.each(({ pool }) => storeMap(pool, map));
  await t.throwsAsync(moveOf(deployment, 0).undo(), { instanceOf: MoveError, message: /--to b/ });
});

test.serial('what cannot be is refused by name, and changes nothing', async (t) => {
  const deployment = await deploymentWithItems(t);
  const before = await mapsOf(deployment);
  for (const [partition, to, message] of [
    [1, 'c', /no shard c: the deployment has a, b/],
    [4, 'b', /no partition 4: the deployment has 0 to 3/],
    [1, 'a', /at shard a already/],
  ] as const) {
    await t.throwsAsync(moveOf(deployment, partition).to(to), { instanceOf: MoveError, message });
  }
  t.deepEqual(await mapsOf(deployment), before);
  const { shards } = deployment;
  const busy = withMove(await levelMaps(shards), { partition: 0, from: 'a', to: 'b', step: 'copy' });
  await shards.each(({ pool }) => storeMap(pool, busy));
  await t.throwsAsync(moveOf(deployment, 1).to('b'), {
    instanceOf: MoveError,
    message: /Partition 0 is being moved to shard b.*--undo/,
  });
});

test.serial('I5: a copy that differs from the rows is not switched to', async (t) => {
  const deployment = await deploymentWithItems(t);
  const { shards, pool } = deployment;
  // The tree of the source does not fit its rows.
  const { first, last } = hashSpanOf(0, PARTITIONS);
  await pool.query(
    'DELETE FROM items WHERE id = (SELECT id FROM items WHERE id_hash BETWEEN $1 AND $2 AND NOT deleted LIMIT 1)',
    [first, last],
  );
  await t.throwsAsync(moveOf(deployment, 0).to('b'), {
    instanceOf: MoveError,
    message: /Nothing was switched/,
  });
  t.is((await levelMaps(shards)).owners[0], 'a');
  await moveOf(deployment, 0).undo();
  t.deepEqual((await nodesOf(deployment, 0))[1], NONE);
});

test.serial('I5: while a shard takes part in a move its tombstones are not purged', async (t) => {
  const deployment = await deploymentWithItems(t);
  const { shards, pool } = deployment;
  const { tombstones } = await partitionNode(pool, hashSpanOf(0, PARTITIONS));
  t.true(tombstones > 0);
  const busy = withMove(await levelMaps(shards), { partition: 0, from: 'a', to: 'b', step: 'copy' });
  await shards.each(({ pool }) => storeMap(pool, busy));
  const future = 2 * Date.now() * 1000;
  t.is(await purgeTombstones(pool, future), 0);
  await moveOf(deployment, 0).undo();
  t.true((await purgeTombstones(pool, future)) >= tombstones);
});

test.serial('filters of the other partitions are stored while one is being moved', async (t) => {
  const deployment = await createDeployment({ partitions: PARTITIONS, filterSnapshotEveryMs: 1000 }, [
    'a',
    'b',
  ]);
  t.teardown(() => deployment.close());
  const { shards } = deployment;
  const busy = withMove(await levelMaps(shards), { partition: 0, from: 'a', to: 'b', step: 'copy' });
  await shards.each(({ pool }) => storeMap(pool, busy));
  const maintenance = await startMaintenance(deployment.options);
  const stored = async () => {
    const text = 'SELECT partition FROM filter_snapshots ORDER BY 1';
    const lists = await shards.each(({ pool }) => pool.query<{ partition: number }>(text));
    return lists.flatMap(({ rows }) => rows.map(({ partition }) => partition));
  };
  await eventually(async () => (await stored()).length === PARTITIONS - 1, 'stored');
  t.deepEqual(await stored(), [1, 2, 3]);
  await moveOf(deployment, 0).undo();
  await eventually(async () => (await stored()).length === PARTITIONS, 'stored once the move has ended');
  await maintenance.close();
});

const WRITERS = 16;

test.serial(
  'I10: a shard whose row is locked by batches all the time changes its map as soon as those in hand end',
  async (t) => {
    const deployment = await createDeployment({ partitions: PARTITIONS }, ['a', 'b']);
    t.teardown(() => deployment.close());
    const { shards, config, log } = deployment;
    const busy = Shards.open(config.shards, WRITERS, log);
    await busy.learn();
    const stopping = new AbortController();
    let batches = 0;
    // They overlap, so that the row is never free.
    const writers = Array.from({ length: WRITERS }, async () => {
      while (!stopping.signal.aborted) {
        await busy.rowsOf(0).transaction((db) => db.query('SELECT pg_sleep(0.1 + random() * 0.1)'));
        batches++;
      }
    });
    await eventually(() => batches > 2 * WRITERS, 'batches overlap');
    const map = withMove(await levelMaps(shards), { partition: 1, from: 'a', to: 'b', step: 'copy' });
    const before = batches;
    t.true(await storeMap(deployment.pool, map));
    t.true(batches - before < 4 * WRITERS, `${batches - before} batches came first`);
    const seen = batches;
    await eventually(() => batches > seen + WRITERS, 'writes of other partitions go on');
    stopping.abort();
    await Promise.all(writers);
    await busy.close();
  },
);
