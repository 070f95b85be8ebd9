import test, { type ExecutionContext } from 'ava';
import { Queue } from 'bullmq';
import { startDrain } from '../../src/drain/start-drain.ts';
import { MAINTENANCE_QUEUE } from '../../src/keys.ts';
import { requestCopySweep, sweepResultSchema } from '../../src/maintenance/on-demand.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { choreRuns } from '../../src/redis/history.ts';
import { readTurns } from '../../src/redis/copies.ts';
import { openStore } from '../../src/store/open-store.ts';
import { plantCopy, readCopy, sweepOf } from '../helpers/copies.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { closing } from '../helpers/setting.ts';

const ITEMS = 4000;

async function setUp(t: ExecutionContext) {
  // Of its own: the keys of other tests would be walked too.
  const server = closing(t, await startRedisServer());
  const deployment = closing(t, await createDeployment({ ...ONE_LANE, redisUrl: server.url }));
  const store = closing(t, await openStore({ ...deployment.options, l1MaxBytes: 0 }));
  closing(t, await startDrain(deployment.options));
  const items = Array.from({ length: ITEMS }, (_, i) => ({ id: `many.${i}`, content: i }));
  await (await store.submitMany(items)).settled();
  const turns = () => readTurns(deployment.redis, deployment.keys);
  return { deployment, store, turns };
}

test('a turn lets the other chores run, and goes on in the next process', async (t) => {
  const { deployment, store, turns } = await setUp(t);
  const { options, redis, keys, pool } = deployment;
  const slowly = { ...options, copySweepMs: 1000, copySweepPercent: 1 };
  const first = await startMaintenance(slowly);
  await eventually(async () => ((await turns()).current?.figures.checked ?? 0) > 0, 'a turn has begun');
  const foldedMs = async () => (await choreRuns(redis, keys)).get('fold')?.atMs ?? 0;
  const before = await foldedMs();
  await (await store.submit({ id: 'many.1', content: 'new' })).settled();
  await eventually(async () => (await foldedMs()) > before, 'the folder has run');
  await eventually(
    async () => (await pool.query('SELECT FROM merkle_delta')).rows.length === 0,
    'its delta is folded',
  );
  const { current } = await turns();
  t.is(current?.number, 1, 'the turn is under way');
  await first.close();

  const stopped = (await turns()).current;
  closing(t, await startMaintenance({ ...slowly, copySweepPercent: 50 }));
  await eventually(async () => (await turns()).last !== undefined, 'the turn has ended');
  const { last } = await turns();
  t.is(last?.number, 1);
  t.is(last?.startedMs, stopped?.startedMs);
  t.true((last?.figures.checked ?? 0) >= ITEMS, `${last?.figures.checked} copies`);
});

test('a turn that is asked for begins at once and tells what it found', async (t) => {
  const { deployment, store, turns } = await setUp(t);
  const { options, redis, keys } = deployment;
  const service = await startMaintenance({ ...options, copySweepPercent: 50 });
  const queue = new Queue(MAINTENANCE_QUEUE, { connection: redis, prefix: keys.queuePrefix });
  t.teardown(async () => {
    await queue.close();
    await service.close();
  });
  const old = await readCopy(deployment, 'many.7');
  if (old === undefined) throw new Error('no copy');
  await (await store.submit({ id: 'many.7', content: 'new' })).settled();
  const hasRun = async () => (await choreRuns(redis, keys)).has('copies');
  await eventually(hasRun, 'the first step of the first turn is done; the next is not due for minutes');
  await plantCopy(deployment, old);

  const [job, again] = await Promise.all([requestCopySweep(queue), requestCopySweep(queue)]);
  t.is(job, again, 'one at a time');
  await eventually(async () => (await queue.getJob(job))?.finishedOn !== undefined, 'compared');
  const result = sweepResultSchema.parse((await queue.getJob(job))?.returnvalue);
  t.is(result.number, 2, 'a turn of its own');
  t.like(await turns(), { current: undefined, last: result });
  t.true(result.figures.checked >= ITEMS);
  t.like(result.figures, { stale: 1, corrupt: 0, lost: 0 });
  t.is((await store.get('many.7'))?.content, 'new');
});

test('while the cache is away maintenance starts and does its other chores', async (t) => {
  const server = await startRedisServer();
  await server.close();
  const deployment = closing(t, await createDeployment(ONE_LANE));
  const number = await sweepOf(deployment).begin();
  closing(t, await startMaintenance({ ...deployment.options, cacheRedisUrl: server.url }));
  const runs = () => choreRuns(deployment.redis, deployment.keys);
  await eventually(async () => (await runs()).has('fold') && (await runs()).has('copies'), 'both have run');
  t.is((await runs()).get('copies')?.error, undefined);
  t.like(await readTurns(deployment.redis, deployment.keys), { current: { number, slots: 0 } });
});
