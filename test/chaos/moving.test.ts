import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { levelMaps } from '../../src/postgres/map-changes.ts';
import { merkleRoot } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import type { ShardMap } from '../../src/shard-map.ts';
import type { Store } from '../../src/types/read.ts';
import { openStore } from '../../src/store/open-store.ts';
import { type RunningCommand, startCommand } from '../helpers/command-line.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { HistoryActor, IDS } from '../helpers/history-actor.ts';
import { History } from '../helpers/history.ts';
import { modelRoot, modelRows } from '../helpers/model.ts';
import { ObservedVersions } from '../helpers/observed-versions.ts';
import { Random } from '../helpers/random.ts';
import { expandRanges } from '../helpers/range-model.ts';
import { allStoredRows, storedRows } from '../helpers/stored-rows.ts';

const PARTITIONS = 4;
const MOVES = 3;
const KILLS_OF_A_MOVE = 3;
/** Rows that nobody writes meanwhile, in a state that no range delete is of, so that a copy takes a while. */
const FILLING = 30_000;

const deployment = await createDeployment({ partitions: PARTITIONS }, ['a', 'b']);
const { shards, lanes, redis, options } = deployment;
const seed = Date.now() % 1_000_000;
const random = new Random(seed);
const movers: RunningCommand[] = [];
const closers: (() => Promise<unknown>)[] = [() => deployment.close()];
test.after.always(async () => {
  for (const mover of movers) mover.kill('SIGKILL');
  for (const close of closers.toReversed()) await close();
});

/** The partition of the most ids of the history. */
const moved = lanes.of(IDS.toSorted((a, b) => countWith(b) - countWith(a))[0] as string);

function countWith(id: string): number {
  return IDS.filter((other) => lanes.of(other) === lanes.of(id)).length;
}

function startMove(to: string): RunningCommand {
  const mover = startCommand(deployment.env, ['partitions', 'move', String(moved), '--to', to]);
  movers.push(mover);
  return mover;
}

function isAt({ owners, move }: ShardMap, name: string): boolean {
  return owners[moved] === name && move === undefined;
}

/** Moves the partition, and kills the process that moves it some times on the way. @returns the steps that were killed */
async function moveWithKills(to: string): Promise<(string | undefined)[]> {
  const killed: (string | undefined)[] = [];
  for (let kill = 0; kill < KILLS_OF_A_MOVE; kill++) {
    const before = await levelMaps(shards);
    if (isAt(before, to)) return killed;
    const mover = startMove(to);
    // Half of them die soon after they have done something, the others at any moment.
    if (random.chance(0.5)) {
      const goesOn = async () => (await levelMaps(shards)).version > before.version;
      await Promise.race([eventually(goesOn, 'the map changes', 60_000), mover.finished]);
    } else {
      await sleep(random.upTo(1500));
    }
    await sleep(random.upTo(200));
    mover.kill('SIGKILL');
    await mover.finished;
    killed.push((await levelMaps(shards)).move?.step);
  }
  if (isAt(await levelMaps(shards), to)) return killed;
  const { code, stderr } = await startMove(to).finished;
  if (code !== 0) throw new Error(`the move ended with ${code}: ${stderr}`);
  return killed;
}

test('I3 I4 I5 I6 I7: a partition moves three times under writes and reads, the mover killed on its way: nothing is lost, resurrected, going back or falsely absent', async (t) => {
  t.log(`seed ${seed}, partition ${moved}`);
  for (const start of [startDrain, startDrain, startMaintenance]) {
    const started = await start(options);
    closers.push(() => started.close());
  }
  const stores = await Promise.all(
    [0, 4096, undefined].map((l1MaxBytes) =>
      openStore({ ...options, ...(l1MaxBytes !== undefined && { l1MaxBytes }) }),
    ),
  );
  for (const store of stores) closers.push(() => store.close());
  const filling = Array.from({ length: FILLING }, (_, i) => ({
    id: `filling.${i}`,
    content: i,
    state: 'filling',
  }));
  await (await (stores[0] as Store).submitMany(filling)).settled();

  const history = new History(async (id) => Number(await redis.hget(lanes.keysOf(id).clock, 'entries')));
  const seen = stores.map(() => new ObservedVersions());
  const moving = new AbortController();
  const acting = Promise.all(
    stores.map(async (store, s) => {
      const own = new Random(seed * 10 + s);
      const actor = new HistoryActor(store, history, seen[s] as ObservedVersions, own, lanes);
      const settling: Promise<unknown>[] = [];
      while (!moving.signal.aborted) {
        if (own.chance(0.25)) {
          const { settled } = await actor.write();
          // A read may fail before this is waited for.
          settled.catch(() => undefined);
          settling.push(settled);
        } else {
          await actor.read();
        }
        await sleep(own.upTo(25));
      }
      return settling;
    }),
  );
  acting.catch(() => undefined);
  const reader = stores[0] as Store;
  const filled = await reader.merkle.prefix('filling');
  t.is(filled.count, FILLING);
  const watching = (async () => {
    for (let looks = 0; ; looks++) {
      if (moving.signal.aborted) return looks;
      t.deepEqual(await reader.merkle.prefix('filling'), filled);
      t.is(await reader.countPrefix('filling.'), FILLING);
      await sleep(random.upTo(100));
    }
  })();
  watching.catch(() => undefined);
  for (let move = 0; move < MOVES; move++) {
    const { owners } = await levelMaps(shards);
    const to = owners[moved] === 'a' ? 'b' : 'a';
    t.log(`to ${to}: killed in ${(await moveWithKills(to)).join(', ')}`);
    for (const [i, map] of (await shards.each(() => levelMaps(shards))).entries()) {
      t.deepEqual([map.owners[moved], map.move], [to, undefined], `${i}`);
    }
  }
  moving.abort();
  await Promise.all((await acting).flat());
  t.true((await watching) > 0);
  t.deepEqual((await reader.merkle.verify({ content: true })).differences, []);

  t.deepEqual(history.violations, []);
  for (const { reads, violations } of seen) {
    t.true(reads > 0);
    t.deepEqual(violations, []);
  }
  const lists = await shards.each(({ pool }) => storedRows(pool));
  const { owners } = await levelMaps(shards);
  lists.forEach((rows, i) => {
    const strange = rows.filter(({ id }) => owners[lanes.of(id)] !== shards.all[i]?.name);
    t.deepEqual(strange, [], 'the old shard was emptied');
  });
  const rows = await allStoredRows(shards);
  const written = rows.filter(({ id }) => !id.startsWith('filling.'));
  t.deepEqual(written, modelRows(expandRanges(history.ops)));
  t.is(rows.length - written.length, FILLING);
  for (const { differences } of await shards.each(({ pool }) => verifyMerkle(pool)))
    t.deepEqual(differences, []);
  const roots = await shards.each(({ pool }) => merkleRoot(pool));
  const root = modelRoot(rows);
  t.is(
    roots.reduce((sum, { count }) => sum + count, 0),
    root.count,
  );
  t.is(
    roots.reduce((sum, { digest }) => sum ^ BigInt(`0x${digest}`), 0n),
    BigInt(`0x${root.digest}`),
  );
});
