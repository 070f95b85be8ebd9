import { randomBytes } from 'node:crypto';
import { loadConfig } from '../src/config.ts';
import { createLogger } from '../src/log.ts';
import { createPool } from '../src/postgres/pool.ts';
import { closeRedis, createRedis, whenReady } from '../src/redis/connect.ts';

const quiet = createLogger('demo', 'silent');
const CONNECT_MS = 5000;

/** Where the demo writes: names of its own, because exact counts need an empty place, also on servers others use. */
export interface Scratch {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly namespace: string;
}

export async function createScratch(redisUrl: string, serverUrl: string): Promise<Scratch> {
  const name = `tierline_demo_${randomBytes(4).toString('hex')}`;
  await onServer(serverUrl, `CREATE DATABASE ${name}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return { redisUrl, databaseUrl: url.href, namespace: name };
}

/** Removes the database and every key. Workers must have ended. */
export async function removeScratch({ redisUrl, namespace }: Scratch, serverUrl: string): Promise<void> {
  await onServer(serverUrl, `DROP DATABASE IF EXISTS ${namespace} WITH (FORCE)`);
  for (const url of new Set([redisUrl, loadConfig({ redisUrl }).cacheRedisUrl ?? redisUrl])) {
    await removeKeys(url, namespace);
  }
}

async function onServer(serverUrl: string, statement: string): Promise<void> {
  const pool = createPool(serverUrl, 1, quiet);
  try {
    await pool.query(statement);
  } finally {
    await pool.end();
  }
}

async function removeKeys(url: string, namespace: string): Promise<void> {
  const redis = createRedis(url, 'failFast', quiet);
  try {
    await whenReady(redis, CONNECT_MS);
    for await (const page of redis.scanStream({ match: `*${namespace}*`, count: 5000 })) {
      const keys: string[] = page;
      if (keys.length > 0) await redis.unlink(...keys);
    }
  } finally {
    await closeRedis(redis);
  }
}
