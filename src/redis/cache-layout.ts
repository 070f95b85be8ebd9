import { z } from 'zod';
import { messageOf } from '../errors.ts';
import { ITEM_BUCKETS } from '../keys.ts';
import type { Logger } from '../log.ts';
import { type Cluster, isCluster, type Redis, type Server } from './client.ts';
import { connectServer } from './driver.ts';
import { slotOf } from './masters.ts';
import { ServerInfo } from './server-info.ts';

export interface CacheServer {
  readonly redis: Server;
  /** Another one after a restart and on a replica that takes the server's place. */
  readonly id: string;
}

/** Which server has the copies of which bucket. */
export interface CacheLayout {
  readonly servers: readonly CacheServer[];
  /** For each bucket the place of its server in `servers`. */
  readonly places: readonly number[];
  /** Each bucket is a slot of its own: one command may name keys of one bucket alone. */
  readonly isCluster: boolean;
}

export interface LayoutListener {
  /** A layout can be asked for; any before it is over. */
  onReady(): void;
  /** No server can be used for the moment. */
  onClose(): void;
}

/** Where the L2 copies lie: on one server, or on the masters of a cluster. */
export interface CacheLayouts {
  /** @throws while it is not certain */
  now(): Promise<CacheLayout>;
  /** Other processes use another server than we do. `onReady` follows. */
  lookAgain(): void;
  close(): void;
}

export function cacheLayouts(cache: Redis, log: Logger, listener: LayoutListener): CacheLayouts {
  return isCluster(cache) ? new ClusterLayouts(cache, log, listener) : new OneServer(cache, listener);
}

class OneServer implements CacheLayouts {
  readonly #redis: Server;
  readonly #listener: LayoutListener;

  constructor(redis: Server, listener: LayoutListener) {
    this.#redis = redis;
    this.#listener = listener;
    redis.on('ready', this.#onReady);
    redis.on('close', this.#onClose);
    if (redis.status === 'ready') queueMicrotask(this.#onReady);
  }

  async now(): Promise<CacheLayout> {
    const id = runIdOf(await ServerInfo.of(this.#redis, 'server'));
    const places = Array.from({ length: ITEM_BUCKETS }, () => 0);
    return { servers: [{ redis: this.#redis, id }], places, isCluster: false };
  }

  lookAgain(): void {
    this.#redis.disconnect(true);
  }

  close(): void {
    this.#redis.off('ready', this.#onReady);
    this.#redis.off('close', this.#onClose);
  }

  readonly #onReady = (): void => this.#listener.onReady();
  readonly #onClose = (): void => this.#listener.onClose();
}

const BUCKET_SLOTS = Array.from({ length: ITEM_BUCKETS }, (_, bucket) => slotOf(`{${bucket}}`));

const slotsReply = z.array(
  z.tuple([z.int(), z.int()]).rest(z.tuple([z.string(), z.int()]).rest(z.unknown())),
);

/**
 * The masters of a Redis Cluster. Each has a connection of its own here, which lives once: those of the cluster's client stay open,
 * and are even told to answer reads, when their server becomes a replica.
 */
class ClusterLayouts implements CacheLayouts {
  readonly #cluster: Cluster;
  readonly #log: Logger;
  readonly #listener: LayoutListener;
  /** By `host:port`. */
  readonly #connections = new Map<string, Server>();
  /** The server of each bucket in the last layout. */
  #owners: readonly string[] | undefined;
  #closed = false;

  constructor(cluster: Cluster, log: Logger, listener: LayoutListener) {
    this.#cluster = cluster;
    this.#log = log;
    this.#listener = listener;
    cluster.on('ready', this.#onReady);
    cluster.on('refresh', this.#onRefresh);
    if (cluster.status === 'ready') queueMicrotask(this.#onReady);
  }

  async now(): Promise<CacheLayout> {
    const owners = ownersIn(await this.#cluster.cluster('SLOTS'));
    const addresses = [...new Set(owners)].sort();
    const servers = await Promise.all(addresses.map((address) => this.#look(address, owners)));
    for (const [address, redis] of this.#connections) {
      if (addresses.includes(address)) continue;
      this.#connections.delete(address);
      redis.disconnect();
    }
    this.#owners = owners;
    return { servers, places: owners.map((owner) => addresses.indexOf(owner)), isCluster: true };
  }

  lookAgain(): void {
    this.#listener.onReady();
  }

  close(): void {
    this.#closed = true;
    this.#cluster.off('ready', this.#onReady);
    this.#cluster.off('refresh', this.#onRefresh);
    for (const redis of this.#connections.values()) redis.disconnect();
  }

  /** @throws when the server is no master, or says otherwise than `owners` who has which bucket: a failover is under way */
  async #look(address: string, owners: readonly string[]): Promise<CacheServer> {
    const redis = await this.#connection(address);
    const [server, replication, view] = await Promise.all([
      ServerInfo.of(redis, 'server'),
      ServerInfo.of(redis, 'replication'),
      redis.cluster('SLOTS'),
    ]);
    if (replication.text('role') !== 'master' || ownersIn(view).some((owner, i) => owner !== owners[i])) {
      throw new Error('the servers of the Redis Cluster do not agree at the moment who has which slot');
    }
    // A master that was a replica for a while has another replication id than before, though it is the same process.
    return { redis, id: `${runIdOf(server)}/${replication.text('master_replid') ?? ''}` };
  }

  async #connection(address: string): Promise<Server> {
    const open = this.#connections.get(address);
    if (open !== undefined) return open;
    const redis = await connectServer(this.#cluster, address, this.#log);
    const other = this.#connections.get(address);
    if (this.#closed || other !== undefined) {
      redis.disconnect();
      if (other === undefined) throw new Error('closed');
      return other;
    }
    this.#connections.set(address, redis);
    redis.on('close', () => {
      if (this.#connections.get(address) !== redis) return;
      this.#connections.delete(address);
      this.#changed();
    });
    return redis;
  }

  #changed(): void {
    this.#owners = undefined;
    this.#listener.onClose();
    this.#listener.onReady();
  }

  readonly #onReady = (): void => this.#listener.onReady();

  /** The connection has asked who has which slot. A server that hangs is found so: its connection tells nothing. */
  readonly #onRefresh = (): void => {
    const changed = this.#owners?.some((owner, bucket) => {
      return this.#cluster.slots[BUCKET_SLOTS[bucket] as number]?.[0] !== owner;
    });
    if (changed === true) this.#changed();
  };
}

function runIdOf(info: ServerInfo): string {
  const runId = info.text('run_id');
  if (runId === undefined) {
    throw new Error('the cache server does not tell its run_id; allow it the command INFO server');
  }
  return runId;
}

/** `host:port` of the server of each bucket. @throws when a bucket has none */
function ownersIn(reply: unknown): string[] {
  const ranges = slotsReply.safeParse(reply);
  if (!ranges.success) throw new Error(`CLUSTER SLOTS cannot be read: ${messageOf(ranges.error)}`);
  return BUCKET_SLOTS.map((slot) => {
    const [, , master] = ranges.data.find(([from, to]) => from <= slot && slot <= to) ?? [];
    if (master === undefined) {
      throw new Error(
        `slot ${slot} of the Redis Cluster has no server; see redis-cli --cluster check, and fix it`,
      );
    }
    return `${master[0]}:${master[1]}`;
  });
}
