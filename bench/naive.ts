import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Queue } from 'bullmq';
import { createRedis } from '../src/redis/driver.ts';
import type { NewItem } from '../src/types/write.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { eventually } from '../test/helpers/eventually.ts';
import type { Measure } from './metric.ts';

export interface Naive {
  readonly queue: Queue;
  readonly worker: ChildProcess;
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
  const worker = spawn(process.execPath, [fileURLToPath(new URL('./naive-worker.js', import.meta.url))], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(worker.stdout, 'data');
  return {
    queue,
    worker,
    async close() {
      worker.kill();
      await once(worker, 'exit');
      await queue.obliterate({ force: true });
      await queue.close();
      connection.disconnect();
      await pool.query('DROP TABLE naive_items');
    },
  };
}

/** Jobs already queued, until the last row is in Postgres and the last value in Redis. `measure` runs that part. */
export async function naiveDrain<T>(
  { queue }: Naive,
  items: readonly NewItem[],
  measure: Measure<T>,
): Promise<T> {
  await queue.pause();
  for (let at = 0; at < items.length; at += 1000) {
    await queue.addBulk(
      items.slice(at, at + 1000).map((data) => ({ name: 'put', data, opts: { removeOnComplete: true } })),
    );
  }
  return measure(async () => {
    await queue.resume();
    await eventually(
      async () => (await queue.getJobCountByTypes('waiting', 'active')) === 0,
      'naive drain',
      600_000,
    );
  });
}
