import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Queue } from 'bullmq';
import { createRedis } from '../src/redis/connect.ts';
import type { NewItem } from '../src/types/write.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { eventually } from '../test/helpers/eventually.ts';
import { timed } from './metric.ts';

/** Jobs already queued, until the last row is in Postgres and the last value in Redis. */
export async function naiveMs(deployment: Deployment, items: readonly NewItem[]): Promise<number> {
  const { pool, config, env } = deployment;
  await pool.query(
    'CREATE TABLE naive_items (id text PRIMARY KEY, content json NOT NULL, updated_at timestamptz NOT NULL DEFAULT now())',
  );
  const connection = createRedis(config.redisUrl, 'patient', deployment.log);
  const queue = new Queue('naive', { connection, prefix: config.namespace });
  await queue.pause();
  for (let at = 0; at < items.length; at += 1000) {
    await queue.addBulk(
      items.slice(at, at + 1000).map((data) => ({ name: 'put', data, opts: { removeOnComplete: true } })),
    );
  }
  const child = spawn(process.execPath, [fileURLToPath(new URL('./naive-worker.js', import.meta.url))], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  try {
    return await timed(async () => {
      await queue.resume();
      await eventually(
        async () => (await queue.getJobCountByTypes('waiting', 'active')) === 0,
        'naive drain',
        600_000,
      );
    });
  } finally {
    child.kill();
    await once(child, 'exit');
    await queue.obliterate({ force: true });
    await queue.close();
    connection.disconnect();
    await pool.query('DROP TABLE naive_items');
  }
}
