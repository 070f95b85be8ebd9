import { UnsafeServerError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Redis, Server } from './client.ts';
import { isReply } from './driver.ts';
import { masterOf, mastersOf } from './masters.ts';
import { ServerInfo } from './server-info.ts';

/**
 * Refuses a server that is too old, or whose memory policy could evict accepted writes. Some managed services do not tell
 * their policy; they are taken. Of a cluster every master is checked, because a slot may move to any.
 * @throws UnsafeServerError with the fix in its message
 */
export async function checkQueueServer(redis: Redis, log: Logger): Promise<void> {
  await Promise.all(mastersOf(redis).map((server) => checkServer(server, log)));
}

async function checkServer(server: Server, log: Logger): Promise<void> {
  const info = await ServerInfo.of(server);
  if (!info.isNewEnough) {
    throw new UnsafeServerError(
      `${info.product} is too old: Tierline needs Redis 6.2 or newer, or Valkey. Upgrade the server.`,
    );
  }
  const policy = info.text('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    throw new UnsafeServerError(
      `Redis may evict accepted writes: its maxmemory-policy is ${policy}. Run CONFIG SET maxmemory-policy noeviction ` +
        '(and set it in redis.conf); give the cache a Redis of its own with CACHE_REDIS_URL if it shall evict.',
    );
  }
  if (info.text('aof_enabled') === '0') {
    log.warn(
      'Redis keeps no append-only file: a restart loses writes that were accepted but not yet settled. Set appendonly yes.',
    );
  }
}

/** Memory in use of the server that has `key` as a share of `maxmemory`; 0 when there is no limit, and when the user may not call INFO. */
export async function usedMemoryShare(redis: Redis, key: string): Promise<number> {
  const info = await ServerInfo.of(masterOf(redis, key), 'memory').catch((error: unknown) => {
    if (isReply(error)) return undefined;
    throw error;
  });
  const max = info?.number('maxmemory') ?? 0;
  return max > 0 ? (info?.number('used_memory') ?? 0) / max : 0;
}
