import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import knex from 'knex';
import { loadConfig } from '../src/config.ts';

/** What a team writes by hand, as a process: one job an item, one upsert and one SET a job, 50 at once. */
const config = loadConfig();
const connection = new Redis(config.redisUrl, { maxRetriesPerRequest: null });
const cache = new Redis(config.cacheRedisUrl ?? config.redisUrl);
const db = knex({ client: 'pg', connection: config.databaseUrl, pool: { min: 0, max: 20 } });

const worker = new Worker<{ id: string; content: object }>(
  'naive',
  async ({ data: { id, content } }) => {
    await db('naive_items')
      .insert({ id, content: JSON.stringify(content) })
      .onConflict('id')
      .merge();
    await cache.set(`${config.namespace}:naive:${id}`, JSON.stringify(content));
  },
  { connection, prefix: config.namespace, concurrency: 50, removeOnComplete: { count: 0 } },
);
await worker.waitUntilReady();
process.stdout.write('naive started\n');
process.on('SIGTERM', () => process.exit(0));
