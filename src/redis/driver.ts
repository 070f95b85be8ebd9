import { Cluster as IoCluster, Redis as IoServer, type RedisOptions } from 'ioredis';
import type { Logger } from '../log.ts';
import { type HostPort, parseRedisAddress } from '../redis-address.ts';
import type { Cluster, Redis, Server } from './client.ts';

/** What a connection is behind the `Redis` of client.ts. */
export type IoRedis = IoServer | IoCluster;

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

/**
 * A connection that is not yet connected. Its `error` events go to the log: without a listener they would end the process.
 * @param address as `parseRedisAddress` takes it
 */
export function createRedis(address: string, mode: ConnectionMode, log: Logger): IoRedis {
  const redis = connectionTo(address, mode);
  redis.on('error', (error: unknown) => log.debug({ err: error }, 'Redis connection error'));
  return redis;
}

function connectionTo(text: string, mode: ConnectionMode): IoRedis {
  const address = parseRedisAddress(text);
  const options = optionsOf(mode);
  if (address.kind === 'single') return new IoServer(address.url, options);
  const { hosts, tls, username, password } = address;
  const access = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls && { tls: {} }),
  };
  if (address.kind === 'cluster') return clusterOf(text, hosts, access, mode);
  const redis = new IoServer({
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
): IoCluster {
  const { lazyConnect, enableOfflineQueue, retryStrategy, ...server } = optionsOf(mode);
  const { reconnectOnError: _, ...redisOptions } = {
    ...server,
    ...access,
    connectTimeout: CLUSTER_CONNECT_TIMEOUT_MS,
  };
  const cluster: IoCluster = new IoCluster([...hosts], {
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
  const options: Omit<RedisOptions, 'replyMapping'> = (cluster as IoCluster).options.redisOptions ?? {};
  const redis = new IoServer({
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

/** `host:port` of a server. */
export function addressOf(server: Server): string {
  const { host, port } = (server as IoServer).options;
  return `${host}:${port}`;
}

/** A `patient` connection for BullMQ's workers, which take jobs also while Redis is full. Any number of them can share it. */
export function createWorkerRedis(address: string, log: Logger): Redis {
  const redis = createRedis(address, 'patient', log);
  runWhenFull(redis);
  letManyClose(redis);
  return redis;
}

/**
 * Lets BullMQ's scripts on this connection run while Redis is at its `maxmemory`. Workers need it: they free memory.
 * When a script's first write may need memory, Redis refuses the script. When its first write needs none, such as this DEL,
 * Redis allows all that follows. Taking a job begins with a write that may need memory.
 */
function runWhenFull(redis: IoRedis): void {
  const define = redis.defineCommand.bind(redis);
  redis.defineCommand = (name, definition) =>
    define(name, { ...definition, lua: `redis.call('DEL', KEYS[1] .. ':none')\n${definition.lua}` });
}

/** Each worker of BullMQ listens to the end of the socket that all share, which Node takes for a leak from the eleventh on. */
function letManyClose(redis: IoRedis): void {
  if (redis instanceof IoCluster) redis.on('+node', letManyClose);
  else redis.on('connect', () => redis.stream.setMaxListeners(0));
}

/** A cluster of which no server gave an answer says only that: why is what the last of its servers said. */
export function saidByServer(error: unknown): unknown {
  return error instanceof Error && 'lastNodeError' in error ? (error.lastNodeError ?? error) : error;
}

/** Whether Redis answered this error. Otherwise the connection failed. */
export function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

/**
 * Keeps a connection to a master that Sentinels watch connecting until it is closed.
 *
 * ioredis takes the news of a failover for a call of `disconnect`. When the news comes while it asks the Sentinels for the
 * master, it gives the connection up for good: a worker then took no further job, and a producer refused every write.
 */
function keepConnecting(redis: IoServer): void {
  let isClosed = false;
  const disconnect = redis.disconnect.bind(redis);
  redis.disconnect = (reconnect = false) => {
    isClosed ||= !reconnect;
    disconnect(reconnect);
  };
  // One that was connected ends by `close`: then `quit` or `disconnect` was called.
  let isConnecting = false;
  redis.on('connecting', () => {
    isConnecting = true;
  });
  redis.on('close', () => {
    isConnecting = false;
  });
  redis.on('end', () => {
    // What keeps it from connecting is told by the `error` event.
    if (isConnecting && !isClosed) redis.connect().catch(() => undefined);
  });
}

/** How often a cluster is asked who has which slot. Commands that go astray ask at once. */
const ASK_EVERY_MS = 2000;

const watches = new Map<string, SlotWatch>();

/**
 * Keeps fresh what a connection knows of its cluster's slots, while it is connected. Not by ioredis's own timer: when the cluster
 * is closed while it asks, that timer goes on for ever.
 * @param address names the cluster: connections with the same one share their watch
 */
function watchSlots(cluster: IoCluster, address: string): void {
  cluster.on('ready', () => {
    const watch = watches.get(address) ?? new SlotWatch();
    watches.set(address, watch);
    watch.add(cluster);
  });
  cluster.on('close', () => {
    if (watches.get(address)?.remove(cluster) === true) watches.delete(address);
  });
}

/**
 * Each question takes a new connection to a server and 4 ms of this process. A worker of 8 partitions has 27 connections to the
 * cluster, which took 6 % of a core when each of them asked. So one asks, each in its turn, and the others ask when the answer is
 * another than they know.
 */
class SlotWatch {
  readonly #clusters = new Set<IoCluster>();
  #timer: NodeJS.Timeout | undefined;

  add(cluster: IoCluster): void {
    this.#clusters.add(cluster);
    this.#timer ??= setInterval(() => this.#ask(), ASK_EVERY_MS).unref();
  }

  /** @returns whether it was the last one */
  remove(cluster: IoCluster): boolean {
    this.#clusters.delete(cluster);
    if (this.#clusters.size > 0) return false;
    clearInterval(this.#timer);
    this.#timer = undefined;
    return true;
  }

  #ask(): void {
    const [next] = this.#clusters;
    if (next === undefined) return;
    this.#clusters.delete(next);
    this.#clusters.add(next);
    next.refreshSlotsCache((error) => {
      if (error) return;
      const now = ownersOf(next);
      for (const other of this.#clusters) if (ownersOf(other) !== now) other.refreshSlotsCache();
    });
  }
}

/** Which servers have which slots, as text to compare. */
function ownersOf({ slots }: IoCluster): string {
  const ranges: string[] = [];
  let owners: string[] | undefined;
  slots.forEach((servers, slot) => {
    // The slots of one range share an array.
    if (servers === owners) return;
    owners = servers;
    ranges.push(`${slot}:${servers.join()}`);
  });
  return ranges.join(' ');
}
