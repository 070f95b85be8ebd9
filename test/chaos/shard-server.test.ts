import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { TierUnavailableError } from '../../src/errors.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/types/read.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { HistoryActor } from '../helpers/history-actor.ts';
import { History } from '../helpers/history.ts';
import { modelRows } from '../helpers/model.ts';
import { ObservedVersions } from '../helpers/observed-versions.ts';
import { startReplication } from '../helpers/postgres-replica.ts';
import { Random } from '../helpers/random.ts';
import { expandRanges } from '../helpers/range-model.ts';
import { closing } from '../helpers/setting.ts';
import { allStoredRows } from '../helpers/stored-rows.ts';

const PARTITIONS = 4;
const KILLS = 3;
const WRITES_WHILE_AWAY = 5;

/** Writes and reads at random. A read that needs the shard that is away may fail, and counts then. */
async function act(actor: HistoryActor, random: Random, signal: AbortSignal) {
  const settling: Promise<unknown>[] = [];
  let failed = 0;
  while (!signal.aborted) {
    if (random.chance(0.25)) {
      const { settled } = await actor.write();
      // It is waited for at the end.
      settled.catch(() => undefined);
      settling.push(settled);
    } else {
      try {
        await actor.read();
      } catch (error) {
        if (!(error instanceof TierUnavailableError)) throw error;
        failed++;
      }
    }
    await sleep(random.upTo(25));
  }
  return { settling, failed };
}

test('I3 I4 I5 I6 I7: the Postgres server of a shard is killed three times under writes and reads: nothing is lost, resurrected, going back or falsely absent, and the other shard goes on', async (t) => {
  const server = closing(t, await startReplication(0)).primary;
  const deployment = closing(
    t,
    await createDeployment({
      partitions: PARTITIONS,
      shards: [
        { name: 'a', url: process.env['DATABASE_URL'] as string },
        { name: 'b', url: server.urlOf('postgres') },
      ],
    }),
  );
  const { shards, lanes, redis } = deployment;
  const options = { ...deployment.options, l3TimeoutMs: 4000 };
  for (const start of [startDrain, startDrain, startMaintenance]) closing(t, await start(options));
  const stores: Store[] = [];
  for (const l1MaxBytes of [0, 4096, undefined]) {
    stores.push(closing(t, await openStore({ ...options, ...(l1MaxBytes !== undefined && { l1MaxBytes }) })));
  }
  const [store] = stores as [Store];
  const reader = closing(t, await openReader({ ...options, l1MaxBytes: 0, filterMaxBytes: 0 }));
  /** An id of each shard. No range delete of the history covers it: its state is `own`. */
  const idAt = (name: string) => {
    for (let n = 0; ; n++) if (shards.of(lanes.of(`own.${n}`)).name === name) return `own.${n}`;
  };
  const [here, there] = [idAt('a'), idAt('b')];
  await (await store.submit({ id: there, content: 'first', state: 'own' })).settled();

  const seed = Date.now() % 1_000_000;
  const random = new Random(seed);
  const history = new History(async (id) => Number(await redis.hget(lanes.keysOf(id).clock, 'entries')));
  const seen = stores.map(() => new ObservedVersions());
  const end = new AbortController();
  const acting = Promise.all(
    stores.map((each, s) => {
      const own = new Random(seed * 10 + s);
      return act(new HistoryActor(each, history, seen[s] as ObservedVersions, own, lanes), own, end.signal);
    }),
  );
  acting.catch(() => undefined);
  let written = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    await sleep(random.upTo(700));
    await server.kill();
    await deployment.items.drop([there]);
    const waiting = await store.submit({ id: there, content: kill, state: 'own' });
    while (written < WRITES_WHILE_AWAY * (kill + 1)) {
      const outcome = await (await store.submit({ id: here, content: ++written, state: 'own' })).settled();
      t.is(outcome.status, 'applied', 'the other shard goes on');
    }
    await t.throwsAsync(reader.get(there), { instanceOf: TierUnavailableError, message: /shard b/ });
    await server.start();
    t.is((await waiting.settled()).status, 'applied');
  }
  end.abort();
  const parts = await acting;
  await Promise.all(parts.flatMap(({ settling }) => settling));
  t.log(
    `seed ${seed}, ${parts.map(({ settling, failed }) => `${settling.length} writes, ${failed} reads failed`).join('; ')}`,
  );

  t.deepEqual(history.violations, []);
  for (const { reads, violations } of seen) {
    t.true(reads > 0);
    t.deepEqual(violations, []);
  }
  const found = await reader.getMany([here, there]);
  t.deepEqual(
    found.map((item) => item?.content),
    [written, KILLS - 1],
  );
  const rows = (await allStoredRows(shards)).filter(({ id }) => id !== here && id !== there);
  t.deepEqual(rows, modelRows(expandRanges(history.ops)));
  for (const { differences } of await shards.each(({ pool }) => verifyMerkle(pool)))
    t.deepEqual(differences, []);
});
