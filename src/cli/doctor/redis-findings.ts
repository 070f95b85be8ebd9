import type { Config } from '../../config.ts';
import { messageOf } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { isCluster, type Server } from '../../redis/client.ts';
import { closeRedis, redisFix, whenReady } from '../../redis/connect.ts';
import { addressOf, createRedis } from '../../redis/driver.ts';
import { mastersOf } from '../../redis/masters.ts';
import { ServerInfo } from '../../redis/server-info.ts';
import { duration, groupedDigits } from '../terminal.ts';
import { fail, type Finding, ok, warn } from './finding.ts';
import { serverTimeMs } from '../../redis/commands.ts';

const TIMEOUT_MS = 2000;
const SLOW_MS = 5;
const MEMORY_WARN_SHARE = 0.8;
/** All stamps come from Redis, so skew breaks no order. But ages and `updatedAt` look wrong. */
export const MAX_SKEW_MS = 1000;

type Role = 'redis' | 'cache';
const VARIABLE = { redis: 'REDIS_URL', cache: 'CACHE_REDIS_URL' } as const;

/**
 * Checks one Redis: that of the queue (`redis`), or that of the L2 copies when it is another one (`cache`). Of a cluster each
 * check tells of the master that is worst.
 */
export async function redisFindings(role: Role, config: Config, log: Logger): Promise<Finding[]> {
  const url = role === 'redis' ? config.redisUrl : (config.cacheRedisUrl ?? config.redisUrl);
  const redis = createRedis(url, 'failFast', log);
  try {
    await whenReady(redis, TIMEOUT_MS);
    const servers = await Promise.all(
      mastersOf(redis).map(async (server): Promise<Checked> => {
        const info = await ServerInfo.of(server);
        const findings = [
          ...settingsFindings(role, info),
          ...(role === 'redis' ? replicaFindings(info, config.enqueueReplicas) : []),
          ...(await times(role, server)),
        ];
        return { server, info, findings };
      }),
    );
    return isCluster(redis)
      ? [topology(role, servers), ...worstOf(servers)]
      : (servers[0] as Checked).findings;
  } catch (error) {
    return [fail(role, 'connection', messageOf(error), redisFix(error, VARIABLE[role]))];
  } finally {
    await closeRedis(redis);
  }
}

interface Checked {
  readonly server: Server;
  readonly info: ServerInfo;
  readonly findings: Finding[];
}

function topology(role: Role, servers: readonly Checked[]): Finding {
  const bare = servers.filter(({ info }) => (info.number('connected_slaves') ?? 0) === 0);
  return bare.length === 0
    ? ok(role, 'cluster', `${servers.length} masters, each with a replica`)
    : warn(
        role,
        'cluster',
        `${servers.length} masters; without a replica: ${bare.map(({ server }) => addressOf(server)).join(', ')}`,
        'give each master a replica (redis-cli --cluster add-node --cluster-slave): without one nothing takes its place',
      );
}

const SEVERITY = { ok: 0, warn: 1, fail: 2 } as const;

function worstOf(servers: readonly Checked[]): Finding[] {
  const abouts = (servers[0]?.findings ?? []).map(({ about }) => about);
  return abouts.map((_, i) => {
    const [worst] = servers.toSorted(
      (a, b) => SEVERITY[(b.findings[i] as Finding).level] - SEVERITY[(a.findings[i] as Finding).level],
    );
    const { findings } = worst as Checked;
    const { level, found, ...rest } = findings[i] as Finding;
    return {
      ...rest,
      level,
      found: level === 'ok' ? found : `${addressOf((worst as Checked).server)}: ${found}`,
    };
  });
}

/** What the server's INFO says. */
export function settingsFindings(role: Role, info: ServerInfo): Finding[] {
  const own = role === 'redis' ? queueFindings(info) : [cacheEviction(info)];
  return [version(role, info), ...own, memory(role, info)];
}

function version(role: Role, info: ServerInfo): Finding {
  return info.isNewEnough
    ? ok(role, 'version', info.product)
    : fail(role, 'version', info.product, 'upgrade to Redis 6.2 or newer, or Valkey');
}

function queueFindings(info: ServerInfo): Finding[] {
  const policy = info.text('maxmemory_policy') ?? 'unknown';
  const eviction =
    policy === 'noeviction'
      ? ok('redis', 'eviction', policy)
      : fail(
          'redis',
          'eviction',
          `${policy}: accepted writes may be evicted`,
          'CONFIG SET maxmemory-policy noeviction, and the same in redis.conf; to evict L2 copies give them a Redis of their own with CACHE_REDIS_URL',
        );
  return [eviction, persistence(info)];
}

/** @param wanted replicas that each submit waits for */
function replicaFindings(info: ServerInfo, wanted: number): Finding[] {
  if (wanted === 0) return [];
  const found = info.number('connected_slaves') ?? 0;
  const text = `${found} connected, and each submit waits for ${wanted}`;
  return [
    found >= wanted
      ? ok('redis', 'replicas', text)
      : fail(
          'redis',
          'replicas',
          text,
          'connect replicas (REPLICAOF on each), or lower TIERLINE_ENQUEUE_REPLICAS',
        ),
  ];
}

function persistence(info: ServerInfo): Finding {
  if (info.text('aof_enabled') !== '1') {
    return warn(
      'redis',
      'persistence',
      'no append-only file: a restart loses accepted writes that have not settled',
      'CONFIG SET appendonly yes, and the same in redis.conf',
    );
  }
  const failed = ['aof_last_write_status', 'aof_last_bgrewrite_status'].filter(
    (name) => (info.text(name) ?? 'ok') !== 'ok',
  );
  return failed.length === 0
    ? ok('redis', 'persistence', 'append-only file')
    : fail('redis', 'persistence', `${failed.join(', ')} failed`, 'look at the disk of Redis and its log');
}

function cacheEviction(info: ServerInfo): Finding {
  const policy = info.text('maxmemory_policy') ?? 'unknown';
  const unbounded = (info.number('maxmemory') ?? 0) === 0;
  if (policy === 'noeviction' && !unbounded) {
    return warn(
      'cache',
      'eviction',
      'noeviction: once it is full, writes wait for room',
      'CONFIG SET maxmemory-policy allkeys-lfu, and the same in redis.conf',
    );
  }
  return ok('cache', 'eviction', policy);
}

function memory(role: Role, info: ServerInfo): Finding {
  const used = info.number('used_memory') ?? 0;
  const limit = info.number('maxmemory') ?? 0;
  if (limit === 0) return ok(role, 'memory', `${mib(used)} used, no limit`);
  const found = `${mib(used)} of ${mib(limit)} used`;
  return role === 'redis' && used > MEMORY_WARN_SHARE * limit
    ? warn(
        role,
        'memory',
        found,
        'raise maxmemory, or give the L2 copies a Redis of their own with CACHE_REDIS_URL',
      )
    : ok(role, 'memory', found);
}

function mib(bytes: number): string {
  return `${groupedDigits(Math.round(bytes / 1_048_576))} MiB`;
}

async function times(role: Role, server: Server): Promise<Finding[]> {
  const trips = await roundTrips(() => serverTimeMs(server));
  return [latency(role, trips, SLOW_MS), ...(role === 'redis' ? [skew(role, trips)] : [])];
}

export function latency(area: Finding['area'], { medianMs }: RoundTrips, slowMs: number): Finding {
  const found = `${medianMs.toFixed(1)} ms a round trip`;
  return medianMs <= slowMs
    ? ok(area, 'latency', found)
    : warn(
        area,
        'latency',
        found,
        'run workers and readers in the same zone as the server, and look at its load',
      );
}

export function skew(area: Finding['area'], { skewMs }: RoundTrips): Finding {
  const ahead = skewMs >= 0 ? 'ahead of' : 'behind';
  const found = `this machine is ${duration(Math.abs(skewMs))} ${ahead} the server`;
  return Math.abs(skewMs) <= MAX_SKEW_MS
    ? ok(area, 'clock', found)
    : warn(area, 'clock', found, 'run NTP (chrony or systemd-timesyncd) on both machines');
}

const ROUNDS = 9;

export interface RoundTrips {
  /** The median, in milliseconds. */
  readonly medianMs: number;
  /** How far this machine's clock is ahead of the server's, in milliseconds; negative when it is behind. */
  readonly skewMs: number;
}

/** Asks a server for its time several times. The fastest answer gives the skew: its error is the smallest. */
export async function roundTrips(serverTimeMs: () => Promise<number>): Promise<RoundTrips> {
  const trips: { ms: number; skewMs: number }[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const sentAt = Date.now();
    const started = performance.now();
    const serverMs = await serverTimeMs();
    const ms = performance.now() - started;
    // As NTP does, assume that the request took half of the time.
    trips.push({ ms, skewMs: sentAt + ms / 2 - serverMs });
  }
  trips.sort((a, b) => a.ms - b.ms);
  return { medianMs: trips[ROUNDS >> 1]?.ms ?? 0, skewMs: trips[0]?.skewMs ?? 0 };
}
