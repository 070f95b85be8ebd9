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
  const naive = await startNaive(deployment);
  try {
    await naive.queue.pause();
    for (let at = 0; at < items.length; at += 1000) {
      await naive.queue.addBulk(
        items.slice(at, at + 1000).map((data) => ({ name: 'put', data, opts: { removeOnComplete: true } })),
      );
    }
    return await timed(async () => {
      await naive.queue.resume();
      await eventually(
        async () => (await naive.queue.getJobCountByTypes('waiting', 'active')) === 0,
        'naive drain',
        600_000,
      );
    });
  } finally {
    await naive.close();
  }
}

export interface Naive {
  readonly queue: Queue;
  close(): Promise<void>;
}

/**
 * The hand-written worker as a process, with its queue and its table.
 * @param maxEvents events that its queue keeps for those who wait for jobs; BullMQ's default without it
 */
export async function startNaive({ pool, config, env, log }: Deployment, maxEvents?: number): Promise<Naive> {
  await pool.query(
    'CREATE TABLE naive_items (id text PRIMARY KEY, content json NOT NULL, updated_at timestamptz NOT NULL DEFAULT now())',
  );
  const connection = createRedis(config.redisUrl, 'patient', log);
  const queue = new Queue('naive', {
    connection,
    prefix: config.namespace,
    ...(maxEvents !== undefined && { streams: { events: { maxLen: maxEvents } } }),
  });
  await queue.waitUntilReady();
  const child = spawn(process.execPath, [fileURLToPath(new URL('./naive-worker.js', import.meta.url))], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return {
    queue,
    async close() {
      child.kill();
      await once(child, 'exit');
      await queue.obliterate({ force: true });
      await queue.close();
      connection.disconnect();
      await pool.query('DROP TABLE naive_items');
    },
  };
}
