import test from 'ava';
import { type DrainWorker, startDrain } from '../../src/drain/start-drain.ts';
import { type Maintenance, startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/types/read.ts';
import { jsonOf, runCommand } from '../helpers/command-line.ts';
import { sweepAll } from '../helpers/copies.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { laggingReplica } from '../helpers/failover.ts';
import { closing } from '../helpers/setting.ts';
import { allStoredRows } from '../helpers/stored-rows.ts';

let deployment: Deployment;
let drain: DrainWorker;
let store: Store;
let maintenance: Maintenance | undefined;
test.beforeEach(async () => {
  deployment = await createDeployment();
  drain = await startDrain(deployment.options);
  store = await openStore({ ...deployment.options, l1MaxBytes: 0 });
});
test.afterEach.always(async () => {
  await maintenance?.close();
  maintenance = undefined;
  await store.close();
  await drain.close();
  await deployment.close();
});

const copies = (...args: readonly string[]) => runCommand(deployment.env, ['copies', ...args]);

test.serial('I3: lost writes are found, listed and written back; the others are left alone', async (t) => {
  maintenance = await startMaintenance({ ...deployment.options, copySweepPercent: 50 });
  await (await store.submit({ id: 'a', content: 'old' })).settled();
  await (await store.submit({ id: 'b', content: 'old' })).settled();
  t.is((await copies('lost')).stdout, 'no lost writes\n');
  const replica = await laggingReplica(deployment);
  const { version } = await store.submit({ id: 'a', content: 'new' });
  await (await store.delete('b')).settled();
  await (await store.submit({ id: 'c', content: 'new' })).settled();
  await replica.failOver();

  const found = await copies('sweep');
  t.is(found.code, 1, found.stderr);
  t.regex(found.stdout, /^lost by Postgres +3$/m);
  const listed = await copies('lost');
  t.is(listed.code, 0);
  t.regex(listed.stdout, new RegExp(`^a +JSON +\\S+Z +${version} +\\d+$`, 'm'));
  t.regex(listed.stdout, /^b +delete /m);
  t.regex(listed.stdout, /^c .* no row$/m);
  t.is(jsonOf((await copies('lost', '--json', '--limit', '2')).stdout).length, 2);
  const doctor = await runCommand(deployment.env, ['doctor']);
  t.regex(doctor.stdout, /FAIL {2}postgres: lost writes +3 settled writes.*\n +fix: tierline copies lost/);

  const one = await copies('restore', 'a', 'nobody', '--json');
  t.is(one.code, 1, 'one of them is not there');
  t.deepEqual(
    jsonOf(one.stdout).map(({ id, status }) => [id, status]),
    [
      ['a', 'restored'],
      ['nobody', 'gone'],
    ],
  );
  const rest = await copies('restore', '--all');
  t.is(rest.code, 0, rest.stderr);
  t.is((await copies('restore', '--all')).stdout, 'no lost writes\n');
  const rows = await allStoredRows(deployment.shards);
  t.deepEqual(
    rows.map(({ id, deleted }) => ({ id, deleted })),
    [
      { id: 'a', deleted: false },
      { id: 'b', deleted: true },
      { id: 'c', deleted: false },
    ],
  );
  const again = await copies('sweep', '--json');
  t.is(again.code, 0, again.stderr);
  t.like(jsonOf(again.stdout)[0], { figures: { checked: 3, lost: 0, stale: 0, corrupt: 0 } });
  t.true((await store.merkle.verify()).ok);
});

test.serial('discard gives a lost write up', async (t) => {
  await (await store.submit({ id: 'a', content: 'old' })).settled();
  const replica = await laggingReplica(deployment);
  await (await store.submit({ id: 'a', content: 'new' })).settled();
  await replica.failOver();
  await sweepAll(deployment);
  t.is((await store.get('a'))?.content, 'new');
  t.is((await copies('discard')).code, 2);
  t.is((await copies('discard', 'a', '--all')).code, 2);
  const { code, stdout } = await copies('discard', '--all');
  t.is(code, 0);
  t.regex(stdout, /^a +discarded/m);
  const reader = closing(t, await openStore({ ...deployment.options, l1MaxBytes: 0 }));
  t.is((await reader.get('a'))?.content, 'old');
});

test.serial('sweep without a maintenance process ends in time', async (t) => {
  const { code, stderr } = await copies('sweep', '--timeout', '0.3');
  t.is(code, 1);
  t.regex(stderr, /is a maintenance process running\?.*ERR_SETTLE_TIMEOUT/);
});
