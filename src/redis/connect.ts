import { Cluster, Redis as Server, type RedisOptions } from 'ioredis';
import { Deadline, pause, within } from '../abortable.ts';
import { messageOf } from '../errors.ts';
import type { Logger } from '../log.ts';
import { type HostPort, parseRedisAddress } from '../redis-address.ts';
import { watchSlots } from './slot-watch.ts';
import { keepConnecting } from './watched-master.ts';

export type { ChainableCommander as Pipeline, Cluster, Redis as Server } from 'ioredis';
/** A connection to one server, or to all servers of a cluster: then each command goes to the server that has its key. */
export type Redis = Server | Cluster;

/**
 * `failFast`: commands reject at once while the server is away, so callers keep control of how long to wait.
 * `patient`: commands wait for the server, which BullMQ's workers require.
 * `manual`: no reconnection by itself; the owner calls `connect()` and learns of every cut.
 */
export type ConnectionMode = 'failFast' | 'patient' | 'manual';

const CONNECT_TIMEOUT_MS = 1000;
/** How long ioredis waits for a socket to close. It waits also for one that is closed already, and keeps the process alive. */
const DISCONNECT_TIMEOUT_MS = 200;
const MAX_RETRY_DELAY_MS = 1000;
const QUIT_MS = 1000;

/**
 * A connection that is not yet connected. Its `error` events go to the log: without a listener they would end the process.
 * @param address as `parseRedisAddress` takes it
 */
export function createRedis(address: string, mode: ConnectionMode, log: Logger): Redis {
  const redis = connectionTo(address, mode);
  redis.on('error', (error: unknown) => log.debug({ err: error }, 'Redis connection error'));
  return redis;
}

function connectionTo(text: string, mode: ConnectionMode): Redis {
  const address = parseRedisAddress(text);
  const options = optionsOf(mode);
  if (address.kind === 'single') return new Server(address.url, options);
  const { hosts, tls, username, password } = address;
  const access = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls && { tls: {} }),
  };
  if (address.kind === 'cluster') return clusterOf(text, hosts, access, mode);
  const redis = new Server({
    ...options,
    ...access,
    sentinels: [...hosts],
    name: address.name,
    db: address.db,
    ...(address.sentinelUsername !== undefined && { sentinelUsername: address.sentinelUsername }),
    ...(address.sentinelPassword !== undefined && { sentinelPassword: address.sentinelPassword }),
    ...(tls && { enableTLSForSentinelMode: true, sentinelTLS: {} }),
    sentinelRetryStrategy: mode === 'manual' ? () => null : retryDelay,
    // Cuts the connection when the Sentinels name another master: a frozen one would keep it open.
    failoverDetector: true,
  });
  if (mode !== 'manual') keepConnecting(redis);
  return redis;
}

function optionsOf(mode: ConnectionMode) {
  return {
    lazyConnect: true,
    // With RESP3 XREAD answers a flat map, and pushes are dropped. Nothing here needs RESP3.
    protocol: 2 as const,
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    enableOfflineQueue: mode === 'patient',
    autoResendUnfulfilledCommands: mode === 'patient',
    maxRetriesPerRequest: mode === 'patient' ? null : 0,
    // A server that became a replica keeps its connections. Connecting again by its name may find the new primary.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    retryStrategy: mode === 'manual' ? () => null : retryDelay,
  };
}

function retryDelay(attempt: number): number {
  return Math.min(25 * 2 ** Math.min(attempt, 6), MAX_RETRY_DELAY_MS);
}

/**
 * How long connecting to one server of a cluster may take. A process connects to all of them for each of its partitions at
 * once, and what waits for a connection that is not made in time fails.
 */
const CLUSTER_CONNECT_TIMEOUT_MS = 5000;
/** How often a command that no server has taken is sent again, after 100 ms each. */
const REDIRECTIONS = { failFast: 5, manual: 5, patient: Number.MAX_SAFE_INTEGER } as const;

function clusterOf(
  address: string,
  hosts: readonly HostPort[],
  access: object,
  mode: ConnectionMode,
): Cluster {
  const { lazyConnect, enableOfflineQueue, retryStrategy, ...server } = optionsOf(mode);
  const { reconnectOnError: _, ...redisOptions } = {
    ...server,
    ...access,
    connectTimeout: CLUSTER_CONNECT_TIMEOUT_MS,
  };
  const cluster: Cluster = new Cluster([...hosts], {
    lazyConnect,
    enableOfflineQueue,
    // A connection to one of the servers is not made again: after a cut another server may have its slots.
    redisOptions,
    clusterRetryStrategy: retryStrategy,
    // `whenReady` asks, and tells what is wrong.
    enableReadyCheck: false,
    // A command that was cut off may have been carried out, so only those of patient connections are sent again.
    retryDelayOnFailover: mode === 'patient' ? 100 : 0,
    slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
    maxRedirections: REDIRECTIONS[mode],
    // A certificate is checked against the server's name, so keep the name.
    ...('tls' in access && { dnsLookup: (host, done) => done(null, host) }),
  });
  // Connections to servers are made when they are first used. Commands must wait for that, also where they fail at once while
  // the cluster is away.
  if (!enableOfflineQueue) {
    Object.defineProperty(cluster.options, 'enableOfflineQueue', { get: () => cluster.status === 'ready' });
  }
  watchSlots(cluster, address);
  return cluster;
}

/** A connection to one server of a cluster. It is not made again after a cut. @throws why it cannot be had */
export async function connectServer(cluster: Cluster, address: string, log: Logger): Promise<Server> {
  const at = address.lastIndexOf(':');
  const options: Omit<RedisOptions, 'replyMapping'> = cluster.options.redisOptions ?? {};
  const redis = new Server({
    ...options,
    host: address.slice(0, at),
    port: Number(address.slice(at + 1)),
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  redis.on('error', (error: unknown) => log.debug({ err: error }, 'Redis connection error'));
  await redis.connect();
  return redis;
}

/** Waits until the connection takes commands. @throws what kept it from connecting, or a timeout. */
export async function whenReady(redis: Redis, timeoutMs: number): Promise<void> {
  const deadline = new Deadline(timeoutMs);
  await whenConnected(redis, timeoutMs);
  if (redis instanceof Cluster) await whenCovered(redis, deadline);
}

const COVERED_PAUSE_MS = 50;

/** Waits until every slot of a cluster has a server. */
async function whenCovered(cluster: Cluster, deadline: Deadline): Promise<void> {
  let uncovered: Error | undefined;
  for (;;) {
    const info = await deadline.within(cluster.cluster('INFO')).catch((error: unknown) => {
      // The time is over. What the servers said before says more than that.
      throw uncovered ?? error;
    });
    if (info.includes('cluster_state:ok')) return;
    const covered = /cluster_slots_ok:(\d+)/.exec(info)?.[1] ?? 0;
    uncovered = new Error(`CLUSTERDOWN: ${covered} of 16384 slots of the Redis Cluster have a server`);
    if (deadline.leftMs <= COVERED_PAUSE_MS) throw uncovered;
    await pause(COVERED_PAUSE_MS);
  }
}

/** Waits until commands can be sent. @throws what kept it from connecting, or a timeout. */
export async function whenConnected(redis: Redis, timeoutMs: number): Promise<void> {
  if (redis.status === 'ready') return;
  // A lazy connection starts here. When it fails, the events below tell why.
  if (redis.status === 'wait') redis.connect().catch(() => undefined);
  await new Promise<void>((resolve, reject) => {
    let lastError: unknown;
    const onReady = () => finish(resolve);
    const onError = (error: unknown) => {
      lastError = saidByServer(error);
    };
    const onEnd = () =>
      finish(() => reject(new Error(`not connected: ${messageOf(lastError ?? 'connection ended')}`)));
    const timer = setTimeout(() => {
      const why = lastError === undefined ? 'no answer' : messageOf(lastError);
      finish(() =>
        reject(new Error(`not connected within ${Math.round(timeoutMs)} ms: ${why}`, { cause: lastError })),
      );
    }, timeoutMs);
    function finish(then: () => void): void {
      clearTimeout(timer);
      redis.off('ready', onReady);
      redis.off('error', onError);
      redis.off('end', onEnd);
      then();
    }
    redis.on('ready', onReady);
    redis.on('error', onError);
    redis.on('end', onEnd);
  });
}

/** A cluster of which no server gave an answer says only that: why is what the last of its servers said. */
function saidByServer(error: unknown): unknown {
  return error instanceof Error && 'lastNodeError' in error ? (error.lastNodeError ?? error) : error;
}

/** Cuts a connection, which then connects again by itself: the server may be gone without having closed it. */
export function reconnect(redis: Redis): void {
  if (redis.status === 'ready') redis.disconnect(true);
}

/** @throws why the server, or one master of a cluster, did not answer */
export async function pingRedis(redis: Redis): Promise<void> {
  const servers = redis instanceof Cluster ? redis.nodes('master') : [redis];
  await Promise.all(servers.map((server) => server.ping()));
  if (servers.length === 0) throw new Error('no server of the Redis Cluster is known');
}

/** Ends a connection for good: politely when it answers within a second, else by cutting it. */
export async function closeRedis(redis: Redis): Promise<void> {
  if (redis.status === 'ready') await within(QUIT_MS, redis.quit()).catch(() => undefined);
  if (redis.status !== 'end') redis.disconnect();
}

/**
 * Lets BullMQ's scripts on this connection run while Redis is at its `maxmemory`. Workers need it: they free memory.
 * When a script's first write may need memory, Redis refuses the script. When its first write needs none, such as this DEL,
 * Redis allows all that follows. Taking a job begins with a write that may need memory.
 */
export function runWhenFull(redis: Redis): void {
  const define = redis.defineCommand.bind(redis);
  redis.defineCommand = (name, definition) =>
    define(name, { ...definition, lua: `redis.call('DEL', KEYS[1] .. ':none')\n${definition.lua}` });
}

/** What to do about a Redis that did not answer as it should. @param variable the one with its URL */
export function redisFix(error: unknown, variable: string): string {
  const message = messageOf(error);
  if (/NOAUTH/.test(message)) return `give the password of the server in ${variable}: redis://:password@host`;
  if (/WRONGPASS|invalid password|invalid username-password/i.test(message)) {
    return `correct user and password in ${variable}`;
  }
  if (/NOPERM/.test(message)) {
    return `give the user of ${variable} the rights (ACL SETUSER … ~* &* +@all)`;
  }
  if (/CLUSTERDOWN/.test(message)) {
    return 'start the masters of the missing slots or their replicas (redis-cli --cluster check HOST:PORT tells which)';
  }
  if (/All sentinels are unreachable/i.test(message)) {
    return `start a Sentinel, or correct the hosts and the name of the master in ${variable}`;
  }
  if (/cluster support disabled/i.test(message)) {
    return `the server is no cluster: write ${variable} as redis://host, or give it the servers of a cluster`;
  }
  if (/\bMOVED\b/.test(message))
    return `the server is one of a cluster: write ${variable} as redis+cluster://host`;
  return `start the server, or correct ${variable}`;
}

/**
 * What a failed command means for whoever wrote something.
 * `away`: no answer, or a reply after which the same command can succeed: try again. `memory`: the server is full; commands
 * that free memory still work. `data`: it will never take this command on this key.
 */
export type RedisFailure = 'away' | 'memory' | 'data';

/**
 * Replies after which the same command can succeed: the server is busy, is loading, is a replica, cannot write its disk,
 * moved the slot, or does not know the user. A script that
 * looks up keys as it goes finds only then that its slot is on the move. Redis 6 wraps the errors of a script's commands in one of its own, so the word
 * may stand anywhere.
 */
const NOT_NOW =
  /\b(BUSY|LOADING|TRYAGAIN|CLUSTERDOWN|MOVED|ASK|READONLY|MASTERDOWN|NOREPLICAS|MISCONF|NOAUTH|WRONGPASS|NOPERM|NOSCRIPT|UNKILLABLE)\b|max number of clients|non local key in a cluster|the cluster is down/;

export function redisFailure(error: unknown): RedisFailure {
  if (!isReply(error)) return 'away';
  const message = messageOf(error);
  if (/\bOOM\b/.test(message)) return 'memory';
  return NOT_NOW.test(message) ? 'away' : 'data';
}

/** Whether Redis answered this error. Otherwise the connection failed. */
export function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}
