import { UnsafeServerError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { isCluster, type Pipeline, type Redis, type Server } from './client.ts';
import { type Reply, resultsOf } from './commands.ts';
import { redisFailure } from './connect.ts';
import { addressOf, isReply } from './driver.ts';
import { ServerInfo } from './server-info.ts';

/** The slots of a Redis Cluster. */
const SLOTS = 16_384;

/** Connections to every server that takes writes: the masters of a cluster, or the one server. */
export function mastersOf(redis: Redis): Server[] {
  return isCluster(redis) ? redis.nodes('master') : [redis];
}

/** The server that has a key. @throws when a cluster does not say which */
export function masterOf(redis: Redis, key: string): Server {
  if (!isCluster(redis)) return redis;
  const [owner] = redis.slots[slotOf(key)] ?? [];
  const server = redis.nodes('master').find((one) => addressOf(one) === owner);
  if (server === undefined) throw new Error('no server of the Redis Cluster is known to have the slot');
  return server;
}

/** Memory used by the servers together, and what they may use: 0 when one of them has no limit. In bytes. */
export async function memoryOf(redis: Redis): Promise<{ readonly used: number; readonly limit: number }> {
  const infos = await Promise.all(mastersOf(redis).map((server) => ServerInfo.of(server, 'memory')));
  const limits = infos.map((info) => info.number('maxmemory') ?? 0);
  return {
    used: infos.reduce((sum, info) => sum + (info.number('used_memory') ?? 0), 0),
    limit: limits.includes(0) ? 0 : limits.reduce((sum, limit) => sum + limit, 0),
  };
}

/** The slot of a key, by its hash tag when it has one. */
export function slotOf(key: string): number {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  return crc16(Buffer.from(close > open + 1 ? key.slice(open + 1, close) : key)) % SLOTS;
}

/** CRC-16/XMODEM, as the Redis Cluster specification has it. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021;
  }
  return crc & 0xffff;
}

/** Sends one command a key, all together. Returns what became of each, in the order of the keys. */
export async function perKey(
  redis: Redis,
  keys: readonly string[],
  add: (pipeline: Pipeline, key: string) => Pipeline,
): Promise<Reply[]> {
  const results: Reply[] = [];
  await Promise.all(
    groupsOf(redis, keys).map(async (places) => {
      const pipeline = redis.pipeline();
      for (const i of places) add(pipeline, keys[i] as string);
      const replies = await resultsOf(pipeline);
      places.forEach((i, n) => (results[i] = replies[n] as Reply));
    }),
  );
  return results;
}

/** The values of keys of any slots, null where there is none or it is of another type. */
export async function getAll(redis: Redis, keys: readonly string[]): Promise<(string | null)[]> {
  if (!isCluster(redis)) return redis.mget([...keys]);
  const replies = await perKey(redis, keys, (pipeline, key) => pipeline.get(key));
  return replies.map(([error, value]) => {
    if (error !== null && redisFailure(error) !== 'data') throw error;
    return typeof value === 'string' ? value : null;
  });
}

/** The places of the keys that one pipeline may hold. */
function groupsOf(redis: Redis, keys: readonly string[]): number[][] {
  if (!isCluster(redis)) return keys.length === 0 ? [] : [keys.map((_, i) => i)];
  const groups = new Map<string, number[]>();
  keys.forEach((key, i) => {
    const servers = redis.slots[slotOf(key)]?.join() ?? '';
    const places = groups.get(servers);
    if (places === undefined) groups.set(servers, [i]);
    else places.push(i);
  });
  return [...groups.values()];
}

/** Where a walk over the keys of all servers stands, as text; '0' at the start and at the end. */
export type ScanCursor = string;

/**
 * One page of a walk over all keys that match. The servers are walked one after the other in the order of their addresses. A
 * server that is gone meanwhile is passed over.
 */
export async function scanKeys(
  redis: Redis,
  cursor: ScanCursor,
  match: string,
  count: number,
): Promise<{ readonly next: ScanCursor; readonly found: string[] }> {
  const masters = mastersOf(redis)
    .map((server) => ({ server, address: addressOf(server) }))
    .toSorted((a, b) => (a.address < b.address ? -1 : 1));
  const [place, given = ''] = cursor.includes('@') ? cursor.split('@') : [cursor];
  const at = given === '' ? 0 : masters.findIndex(({ address }) => address >= given);
  const master = masters[at];
  if (master === undefined) return { next: '0', found: [] };
  const from = master.address === given || given === '' ? (place as string) : '0';
  const [next, found] = await master.server.scan(from, 'MATCH', match, 'COUNT', count);
  if (!isCluster(redis)) return { next, found };
  if (next !== '0') return { next: `${next}@${master.address}`, found };
  const following = masters[at + 1];
  return { next: following === undefined ? '0' : `0@${following.address}`, found };
}

/** All keys that match, page by page. A key may come twice. */
export async function* allKeys(redis: Redis, match: string, count: number): AsyncGenerator<string[]> {
  let cursor: ScanCursor = '0';
  do {
    const { next, found } = await scanKeys(redis, cursor, match, count);
    if (found.length > 0) yield found;
    cursor = next;
  } while (cursor !== '0');
}

/** Removes all keys that match. */
export async function removeKeys(redis: Redis, match: string): Promise<void> {
  for await (const keys of allKeys(redis, match, 1000)) {
    for (const [error] of await perKey(redis, keys, (pipeline, key) => pipeline.unlink(key))) {
      if (error !== null) throw error;
    }
  }
}

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
