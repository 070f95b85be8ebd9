import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { PartitionMove } from '../../src/maintenance/partition-move.ts';
import { levelMaps, replaceMap } from '../../src/postgres/map-changes.ts';
import { type MoveStep, withMove } from '../../src/shard-map.ts';
import { openStore } from '../../src/store/open-store.ts';
import { BEARER, quietDashboard } from '../helpers/dashboard.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { closing } from '../helpers/setting.ts';

test('the overview tells of a move in each step, and how to go on with it', async (t) => {
  const deployment = closing(t, await createDeployment({ partitions: 2 }, ['a', 'b']));
  const { shards, log, lanes } = deployment;
  const store = closing(t, await openStore(deployment.options));
  closing(t, await startDrain(deployment.options));
  const dashboard = closing(t, await quietDashboard(deployment));
  const overview = async () => (await dashboard.request({ url: '/', headers: BEARER })).body;
  const ids = Array.from({ length: 100 }, (_, i) => `k.${i}`);
  await (await store.submitMany(ids.map((id) => ({ id, content: 1 })))).settled();
  const rows = ids.filter((id) => lanes.of(id) === 0).length;
  t.notRegex(await overview(), /is being moved/);

  const goTo = async (step: MoveStep) => {
    const map = await levelMaps(shards);
    await replaceMap(shards, 'b', map, withMove(map, { partition: 0, from: 'a', to: 'b', step }));
  };
  await goTo('copy');
  t.regex(
    await overview(),
    new RegExp(
      `Partition 0 is being moved from shard a to b: 0 of ${rows} rows are copied.*partitions move 0 --to b`,
    ),
  );
  await goTo('undo');
  t.regex(await overview(), /it stays at a, and 0 copies are to be deleted at b.*partitions move 0 --undo/);
  await goTo('switch');
  t.regex(await overview(), /the new shard takes over/);
  await goTo('empty');
  t.regex(await overview(), new RegExp(`it is there, and ${rows} rows are to be deleted at a`));
  await new PartitionMove(shards, 0, log).to('b');
  t.notRegex(await overview(), /is being moved/);
});
