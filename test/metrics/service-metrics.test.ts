import test from 'ava';
import { Registry } from 'prom-client';
import { startDrain } from '../../src/drain/start-drain.ts';
import { QueueUnavailableError } from '../../src/errors.ts';
import { createServiceMetrics } from '../../src/metrics/service-metrics.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { openStore } from '../../src/store/open-store.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { promtoolComplaints, seriesValue, undocumented } from '../helpers/promtool.ts';
import { closing } from '../helpers/setting.ts';

test('a service counts what it submits and reads, and promtool accepts it', async (t) => {
  const deployment = closing(t, await createDeployment(ONE_LANE));
  closing(t, await startDrain(deployment.options));
  const registry = new Registry();
  const metrics = createServiceMetrics(registry);
  const store = closing(t, await openStore(deployment.options, metrics.observer));
  metrics.watchProducer(store);
  metrics.watchReader(store);
  const items = Array.from({ length: 1100 }, (_, i) => ({ id: `m.${i}`, content: 'x'.repeat(8) }));
  await (await store.submitMany(items)).settled();
  await store.getMany(items.map(({ id }) => id));
  await store.getMany(items.slice(0, 100).map(({ id }) => id));
  await store.get('m.none');
  let text = '';
  await eventually(async () => {
    text = await registry.metrics();
    return seriesValue(text, 'tierline_filter_trusted') === 1;
  }, 'the filter is trusted');
  const value = (series: string) => seriesValue(text, series);
  t.is(value('tierline_producer_submits_total{result="accepted"}'), 1100);
  t.is(value('tierline_producer_submits_total{result="refused"}'), 0);
  t.is(value('tierline_producer_chunks_total'), 3);
  t.is(value('tierline_producer_submitted_bytes_total'), 11_000);
  t.is(value('tierline_producer_settled_items_total{result="settled"}'), 1100);
  t.is(value('tierline_producer_enqueue_seconds_count'), 3);
  t.true((value('tierline_lookups_total{tier="l1",result="hit"}') ?? 0) >= 100);
  t.true((value('tierline_lookups_total{tier="l2",result="hit"}') ?? 0) >= 1000);
  t.true((value('tierline_l1_items') ?? 0) >= 1100);
  t.is(value('tierline_l1_bytes'), store.sizeBytes);
  t.is(value('tierline_reader_feed_live'), 1);
  t.true((value('tierline_reader_feed_position') ?? 0) >= 1);
  t.true((value('tierline_filter_items') ?? 0) >= 1090);
  t.is(promtoolComplaints(text), '');
  t.deepEqual(undocumented(text), []);
  t.is(await registry.metrics(), text, 'a second scrape counts nothing twice');
});

test('what Redis refuses is counted as refused, and what never settled as lost', async (t) => {
  const deployment = await createDeployment(ONE_LANE);
  const registry = new Registry();
  const producer = await openProducer(deployment.options, createServiceMetrics(registry).observer);
  try {
    await producer.submit({ id: 'a', content: 1 });
    // The key is of another kind now: taking stamps is refused.
    await deployment.redis.del(deployment.keys.clock);
    await deployment.redis.set(deployment.keys.clock, 'no hash');
    await t.throwsAsync(producer.submit({ id: 'b', content: 1 }), { instanceOf: QueueUnavailableError });
  } finally {
    await producer.close();
    await deployment.close();
  }
  const text = await registry.metrics();
  t.is(seriesValue(text, 'tierline_producer_submits_total{result="accepted"}'), 1);
  t.is(seriesValue(text, 'tierline_producer_submits_total{result="refused"}'), 1);
  t.is(seriesValue(text, 'tierline_producer_settled_items_total{result="lost"}'), 1);
});
