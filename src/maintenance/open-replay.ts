import type { Config } from '../config.ts';
import { keysOf, WRITES_QUEUE } from '../keys.ts';
import type { Logger } from '../log.ts';
import type { Pool } from '../postgres/pool.ts';
import { openQueue } from '../redis/bull-queue.ts';
import type { Redis } from '../redis/connect.ts';
import type { ReplayParts } from './replay.ts';

/** What replaying needs, on connections of the caller's. */
export interface OpenReplay {
  readonly parts: ReplayParts;
  /** Leaves the connections open. */
  close(): Promise<void>;
}

/** @param redis a `failFast` connection that is ready. */
export function openReplay(pool: Pool, redis: Redis, config: Config, log: Logger): OpenReplay {
  const keys = keysOf(config.namespace);
  const writes = openQueue(WRITES_QUEUE, redis, keys, log);
  return { parts: { pool, redis, writes, keys, config }, close: () => writes.close() };
}
