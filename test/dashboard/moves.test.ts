import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { PartitionMove } from '../../src/maintenance/partition-move.ts';
import { levelMaps, replaceMap } from '../../src/postgres/map-changes.ts';
import { type MoveStep, withMove } from '../../src/shard-map.ts';
import { openStore } from '../../src/store/open-store.ts';
import { BEARER, quietDashboard } from '../helpers/dashboard.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { promtoolComplaints, seriesValue, undocumented } from '../helpers/promtool.ts';
import { closing } from '../helpers/setting.ts';

test('the overview tells of a move in each step, and how to go on with it; /metrics tells how far it is', async (t) => {
  const deployment = closing(t, await createDeployment({ partitions: 2 }, ['a', 'b']));
  const { shards, log, lanes } = deployment;
  const store = closing(t, await openStore(deployment.options));
  closing(t, await startDrain(deployment.options));
  const dashboard = closing(t, await quietDashboard(deployment));
  const overview = async () => (await dashboard.request({ url: '/', headers: BEARER })).body;
  const metrics = async () => (await dashboard.request({ url: '/metrics', headers: BEARER })).body;
  const rowsAt = async (shard: string, step: MoveStep) =>
    seriesValue(await metrics(), `tierline_move_rows{partition="0",step="${step}",shard="${shard}"}`);
  const ids = Array.from({ length: 100 }, (_, i) => `k.${i}`);
  await (await store.submitMany(ids.map((id) => ({ id, content: 1 })))).settled();
  const rows = ids.filter((id) => lanes.of(id) === 0).length;
  t.notRegex(await overview(), /is being moved/);
  t.notRegex(await metrics(), /tierline_move_rows\{/);

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
  await eventually(async () => (await rowsAt('a', 'copy')) === rows, '/metrics tells of the move');
  t.is(await rowsAt('b', 'copy'), 0);
  t.deepEqual(undocumented(await metrics()), []);
  t.is(promtoolComplaints(await metrics()), '');
  await goTo('undo');
  t.regex(await overview(), /it stays at a, and 0 copies are to be deleted at b.*partitions move 0 --undo/);
  await goTo('switch');
  t.regex(await overview(), /the new shard takes over/);
  await goTo('empty');
  t.regex(await overview(), new RegExp(`it is there, and ${rows} rows are to be deleted at a`));
  await eventually(async () => (await rowsAt('a', 'empty')) === rows, '/metrics tells of the step');
  await new PartitionMove(shards, 0, log).to('b');
  t.notRegex(await overview(), /is being moved/);
  await eventually(async () => !/tierline_move_rows\{/.test(await metrics()), '/metrics tells of no move');
});
