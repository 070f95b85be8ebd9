import { randomUUID } from 'node:crypto';
import test from 'ava';
import { Queue } from 'bullmq';
import { TextJobWorker } from '../../src/drain/job-worker.ts';
import { createRedis } from '../../src/redis/driver.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';

const LARGE = 400_000;

test('I10: jobs that end together do not bring more bytes than a worker may hold', async (t) => {
  const deployment = await createDeployment(ONE_LANE);
  const { config, log, keys } = deployment;
  const connection = createRedis(config.redisUrl, 'patient', log);
  const name = randomUUID();
  const queue = new Queue(name, { connection, prefix: keys.queuePrefix });
  await queue.addBulk(Array.from({ length: 30 }, () => ({ name: 'job', data: 'x'.repeat(LARGE) })));
  let inHand = 0;
  let most = 0;
  let done = 0;
  const release: (() => void)[] = [];
  const worker = new TextJobWorker(
    name,
    async () => {
      most = Math.max(most, ++inHand);
      await new Promise<void>((resolve) => release.push(resolve));
      inHand--;
      done++;
    },
    { concurrency: 12, maxBytes: 3 * LARGE + 1000 },
    { connection, prefix: keys.queuePrefix },
  );
  t.teardown(async () => {
    await worker.close(true);
    await queue.close();
    connection.disconnect();
    await deployment.close();
  });
  for (let round = 1; round <= 10; round++) {
    await eventually(() => release.length === 3, 'as many are taken as the worker may hold');
    for (const end of release.splice(0)) end();
    await eventually(() => done === 3 * round, 'they have ended');
  }
  t.is(most, 3);
});
