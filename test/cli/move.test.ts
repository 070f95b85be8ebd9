import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { levelMaps, replaceMap } from '../../src/postgres/map-changes.ts';
import { withMove } from '../../src/shard-map.ts';
import { openStore } from '../../src/store/open-store.ts';
import { jsonOf, runCommand } from '../helpers/command-line.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';

let deployment: Deployment;
test.before(async () => {
  deployment = await createDeployment({ partitions: 2 }, ['a', 'b']);
  await using store = await openStore(deployment.options);
  await using _drain = await startDrain(deployment.options);
  const items = Array.from({ length: 200 }, (_, i) => ({ id: `k.${i}`, content: i }));
  await (await store.submitMany(items)).settled();
});
test.after.always(() => deployment.close());

const run = (...args: string[]) => runCommand(deployment.env, ['partitions', ...args]);

test.serial('a partition is moved by name, and every command finds its items', async (t) => {
  const moved = await run('move', '0', '--to', 'b', '--json');
  t.is(moved.code, 0, moved.stderr);
  t.like(jsonOf(moved.stdout)[0], { partition: 0, from: 'a', to: 'b' });
  t.like(jsonOf((await run('show', '--json')).stdout)[0], { owners: ['b', 'b'] });
  const ids = Array.from({ length: 20 }, (_, i) => `k.${i}`);
  const found = await runCommand(deployment.env, ['get', ...ids, '--json']);
  t.is(found.code, 0, found.stderr);
  const back = await run('move', '0', '--to', 'a');
  t.is(back.stdout, 'partition 0 moved from shard b to a\n');
});

test.serial(
  'what cannot be moved is an error with its code, and a wrong command line one of usage',
  async (t) => {
    for (const [args, message] of [
      [['move', '0', '--to', 'c'], /no shard c.*\(ERR_MOVE\)/],
      [['move', '2', '--to', 'b'], /no partition 2.*\(ERR_MOVE\)/],
      [['move', '0', '--to', 'a'], /at shard a already.*\(ERR_MOVE\)/],
      [['move', '0', '--undo'], /nothing to undo.*\(ERR_MOVE\)/],
    ] as const) {
      const { code, stderr } = await run(...args);
      t.is(code, 1);
      t.regex(stderr, message);
    }
    for (const args of [
      ['move', '0'],
      ['move', '0', '--to', 'b', '--undo'],
      ['move', 'x', '--to', 'b'],
    ]) {
      t.is((await run(...args)).code, 2, args.join(' '));
    }
    const [a, b] = deployment.options.shards ?? [];
    const TIERLINE_SHARDS = `a=${a?.url},b=${b?.url.replace(/:\d+\//, ':1/')}`;
    const away = await runCommand({ ...deployment.env, TIERLINE_SHARDS }, [
      'partitions',
      'move',
      '0',
      '--to',
      'b',
    ]);
    t.is(away.code, 1);
    t.regex(away.stderr, /shard b.*\(ERR_TIER_UNAVAILABLE\)/);
  },
);

test.serial(
  'doctor tells of a move that was left, in each step, and which command goes on with it',
  async (t) => {
    const { shards } = deployment;
    const doctor = async () => (await runCommand(deployment.env, ['doctor'])).stdout;
    t.notRegex(await doctor(), /partition move/);
    for (const [step, found, fix] of [
      [
        'copy',
        'from shard a to b: its writes wait',
        'resume with .*move 0 --to b, or give up with .*move 0 --undo',
      ],
      ['undo', 'it was given up, and copies are left to delete at b', 'tierline partitions move 0 --undo'],
      ['switch', 'its writes wait for the new shard', 'tierline partitions move 0 --to b'],
      ['empty', 'rows are left to delete at a', 'tierline partitions move 0 --to b'],
    ] as const) {
      const map = await levelMaps(shards);
      await replaceMap(shards, 'b', map, withMove(map, { partition: 0, from: 'a', to: 'b', step }));
      t.regex(
        await doctor(),
        new RegExp(`WARN {2}postgres: partition move .*${found}\\n +fix: if nothing goes on, ${fix}`),
      );
    }
    t.is((await run('move', '0', '--to', 'b')).code, 0);
    t.notRegex(await doctor(), /partition move/);
  },
);

test.serial('with one shard nothing can be moved', async (t) => {
  const single = await createDeployment({ partitions: 2 });
  t.teardown(() => single.close());
  const { code, stderr } = await runCommand(single.env, ['partitions', 'move', '0', '--to', 'b']);
  t.is(code, 1);
  t.regex(stderr, /one shard.*TIERLINE_SHARDS.*\(ERR_MOVE\)/);
});
