import test from 'ava';
import { openProducer } from '../../src/producer/open-producer.ts';
import { readBacklog } from '../../src/redis/backlog.ts';
import { replayChunkId } from '../../src/schema/job.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { probed, type ProbedWorker } from '../helpers/probed-worker.ts';
import { promtoolComplaints, seriesValue, undocumented } from '../helpers/promtool.ts';

const TOKEN = 'metrics-token-of-the-test';

const deployment = await createDeployment(ONE_LANE);
const env = { ...deployment.env, TIERLINE_METRICS_TOKEN: TOKEN };
const [drain, maintenance] = await Promise.all([probed('drain', env), probed('maintenance', env)]);
test.after.always(async () => {
  await Promise.all([drain?.stop(), maintenance?.stop()]);
  await deployment.close();
});

const metricsOf = async (worker: ProbedWorker) => {
  const response = await worker.get('/metrics', { authorization: `Bearer ${TOKEN}` });
  return response.text();
};

test.serial('a drain worker counts what it settles, by outcome, and how long each stage took', async (t) => {
  const producer = await openProducer(deployment.options);
  try {
    const items = Array.from({ length: 400 }, (_, i) => ({ id: `m.${i}`, content: i }));
    // One chunk, and m.0 twice in it: the earlier write is superseded.
    await (await producer.submitMany([...items, { id: 'm.0', content: 'again' }])).settled();
    await (await producer.setState('m.none', 'x')).settled();
  } finally {
    await producer.close();
  }
  let text = '';
  await eventually(async () => {
    text = await metricsOf(drain);
    return seriesValue(text, 'tierline_drain_batches_total') === 2;
  }, 'both batches are counted');
  t.is(seriesValue(text, 'tierline_drain_settled_items_total{outcome="applied"}'), 400);
  t.is(seriesValue(text, 'tierline_drain_settled_items_total{outcome="superseded"}'), 1);
  t.is(seriesValue(text, 'tierline_drain_settled_items_total{outcome="missing"}'), 1);
  t.is(seriesValue(text, 'tierline_drain_settled_items_total{outcome="dead"}'), 0);
  t.is(seriesValue(text, 'tierline_drain_chunks_total'), 2);
  t.is(seriesValue(text, 'tierline_drain_batch_items_sum'), 402);
  t.is(seriesValue(text, 'tierline_settle_latency_seconds_count'), 2);
  t.is(seriesValue(text, 'tierline_drain_stage_seconds_count{stage="parse"}'), 2);
  for (const stage of ['postgres', 'redis', 'feed']) {
    t.is(seriesValue(text, `tierline_drain_stage_seconds_count{stage="${stage}"}`), 2, stage);
    t.true((seriesValue(text, `tierline_drain_stage_seconds_sum{stage="${stage}"}`) ?? 0) > 0, stage);
  }
});

test.serial('a maintenance worker shows the whole deployment, and its chores', async (t) => {
  await deployment.pool.query(
    `INSERT INTO dead_letters (item_id, stamp, payload, message, chunk_id) VALUES ('m.dead', 1, '{}', 'test', 'c')`,
  );
  let text = '';
  await eventually(async () => {
    text = await metricsOf(maintenance);
    return seriesValue(text, 'tierline_merkle_pending_batches') === 0;
  }, 'deltas are folded');
  t.is(seriesValue(text, 'tierline_items'), 400);
  t.is(seriesValue(text, 'tierline_dead_letters'), 1);
  t.is(seriesValue(text, 'tierline_pending_items'), 0);
  t.is(seriesValue(text, 'tierline_pressure_ratio'), 0);
  t.is(seriesValue(text, 'tierline_oldest_pending_seconds'), 0);
  t.true((seriesValue(text, 'tierline_feed_head') ?? 0) >= 2);
  t.true((seriesValue(text, 'tierline_redis_memory_bytes{role="queue"}') ?? 0) > 0);
  t.is(seriesValue(text, 'tierline_backend_up{backend="redis"}'), 1);
  t.is(seriesValue(text, 'tierline_backend_up{backend="postgres"}'), 1);
  t.true((seriesValue(text, 'tierline_chore_runs_total{chore="fold",result="ok"}') ?? 0) > 0);
});

for (const name of ['drain', 'maintenance'] as const) {
  test.serial(`promtool accepts the metrics of ${name}`, async (t) => {
    const text = await metricsOf(name === 'drain' ? drain : maintenance);
    t.true(text.includes(`tierline_build_info{process="${name}",version="`));
    t.true(text.includes('process_cpu_seconds_total'));
    t.deepEqual(undocumented(text), []);
    t.is(promtoolComplaints(text), '');
  });
}

test.serial('promtool would complain', (t) => {
  t.regex(promtoolComplaints('# HELP a_total A gauge.\n# TYPE a_total gauge\na_total 1\n'), /_total/);
});

test.serial(
  'figures that cannot be read are left out, and the scrape says which backend is away',
  async (t) => {
    await deployment.pool.query('ALTER TABLE dead_letters RENAME TO dead_letters_away');
    try {
      let text = '';
      await eventually(async () => {
        text = await metricsOf(maintenance);
        return seriesValue(text, 'tierline_backend_up{backend="postgres"}') === 0;
      }, 'Postgres is reported away');
      t.is(seriesValue(text, 'tierline_items'), undefined);
      t.is(seriesValue(text, 'tierline_pending_items'), 0);
      t.is(promtoolComplaints(text), '');
    } finally {
      await deployment.pool.query('ALTER TABLE dead_letters_away RENAME TO dead_letters');
    }
  },
);

test.serial('a replayed dead letter, whose stamp is of long ago, counts as no lag', async (t) => {
  const { redis, keys } = deployment;
  await redis.zadd(keys.inflight, (Date.now() - 600_000) * 1000, replayChunkId('of-the-test'));
  await redis.zadd(keys.inflight, (Date.now() - 1000) * 1000, 'of-a-second-ago');
  const { oldestMs } = await readBacklog(redis, deployment.lanes);
  await redis.zrem(keys.inflight, replayChunkId('of-the-test'), 'of-a-second-ago');
  t.true(oldestMs >= 1000 && oldestMs < 300_000, String(oldestMs));
});
