import test from 'ava';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { openLocalPeer } from '../../src/peers/local-peer.ts';
import { repair } from '../../src/merkle/repair.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/types/read.ts';
import type { Deployment } from '../helpers/deployment.ts';
import type { ModelRow } from '../helpers/model.ts';
import { createSetting, type Setting } from '../helpers/setting.ts';
import { storedRows } from '../helpers/stored-rows.ts';

const SHARED = Array.from({ length: 200 }, (_, i) => `shared.${i}`);

async function openSide({ deployment, use, drain }: Setting) {
  await drain();
  const store = use(await openStore(deployment.options));
  return { deployment, store, peer: use(await openLocalPeer(deployment.options)) };
}

/** New items, and on ids of both sides contents, deletes and states. */
async function writeOn(store: Store, side: string, shift: number): Promise<void> {
  const shared = SHARED.slice(shift, shift + 150);
  const own = Array.from({ length: 700 }, (_, i) => ({ id: `${side}.${i}`, content: i }));
  await store.submitMany([...own, ...shared.map((id) => ({ id, content: side, state: 'open' }))]);
  await store.deleteMany(shared.slice(0, 30));
  await Promise.all(shared.slice(60, 90).map((id) => store.setState(id, side)));
  await store.flush();
}

async function rowsOfShards({ shards }: Deployment): Promise<ReadonlyMap<string, ModelRow[]>> {
  return new Map(
    await Promise.all(shards.all.map(async ({ name, pool }) => [name, await storedRows(pool)] as const)),
  );
}

function inOrder(rows: Iterable<ModelRow[]>): ModelRow[] {
  return [...rows].flat().toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

test('I2 I4 I5: a deployment of two databases and one of a single database are equal after a repair, each row in its own shard', async (t) => {
  const two = await openSide(await createSetting(t, { partitions: 4 }, ['a', 'b']));
  const one = await openSide(await createSetting(t, { partitions: 1 }));
  await writeOn(two.store, 'two', 0);
  await writeOn(one.store, 'one', 50);

  const result = await repair(two.peer, one.peer);
  t.like(result, { equal: true, left: 0, refused: [] });
  t.true(result.pulled.rows >= 700 && result.pushed.rows >= 700);

  const byShard = await rowsOfShards(two.deployment);
  t.deepEqual(inOrder(byShard.values()), await storedRows(one.deployment.pool));
  t.deepEqual(await two.peer.root(), await one.peer.root());
  t.deepEqual(await two.peer.tombstoneWeeks(), await one.peer.tombstoneWeeks());
  const { lanes, shards } = two.deployment;
  for (const { name, pool } of shards.all) {
    const rows = byShard.get(name) ?? [];
    for (const side of ['one', 'two']) t.true(rows.some(({ id }) => id.startsWith(`${side}.`)));
    t.deepEqual(
      rows.filter(({ id }) => shards.of(lanes.of(id)).name !== name),
      [],
    );
    t.deepEqual((await verifyMerkle(pool)).differences, []);
  }
  t.true((await repair(one.peer, two.peer, { dryRun: true })).equal);
});
