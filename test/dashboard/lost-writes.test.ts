import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openStore } from '../../src/store/open-store.ts';
import { sweepAll } from '../helpers/copies.ts';
import { BEARER, quietDashboard } from '../helpers/dashboard.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { laggingReplica } from '../helpers/failover.ts';
import { seriesValue } from '../helpers/promtool.ts';
import { closing } from '../helpers/setting.ts';

test('the overview and the metrics tell what the sweep found, and ring when writes are lost', async (t) => {
  const deployment = closing(t, await createDeployment());
  const store = closing(t, await openStore(deployment.options));
  closing(t, await startDrain(deployment.options));
  const dashboard = closing(t, await quietDashboard(deployment));
  const read = async (url: string) => (await dashboard.request({ url, headers: BEARER })).body;
  t.regex(await read('/'), /L2 against Postgres/);

  await (await store.submit({ id: 'kept', content: 1 })).settled();
  const replica = await laggingReplica(deployment);
  const hostile = '<b>x</b>&';
  await (
    await store.submitMany([
      { id: hostile, content: 1 },
      { id: 'other', content: 1 },
    ])
  ).settled();
  await sweepAll(deployment);
  t.notRegex(await read('/'), /has lost/);
  await replica.failOver();
  await sweepAll(deployment);

  const page = await read('/');
  t.regex(page, /Postgres has lost 2 settled writes.*tierline copies restore --all/s);
  t.true(page.includes('&lt;b&gt;x&lt;/b&gt;&amp;'));
  t.false(page.includes('<b>x</b>'));
  t.regex(page, /2 lost/);
  const metrics = await read('/metrics');
  t.is(seriesValue(metrics, 'tierline_lost_writes'), 2);
  t.true((seriesValue(metrics, 'tierline_copies_turn_seconds') ?? -1) >= 0);
  const ended = seriesValue(metrics, 'tierline_copies_turn_end_timestamp_seconds') ?? 0;
  t.true(ended > 1e9);
});
