import type { Config } from '../config.ts';
import { messageOf, QueueUnavailableError, TierlineError, TierUnavailableError } from '../errors.ts';
import { type Keys, keysOf } from '../keys.ts';
import { Lanes } from '../lanes.ts';
import { type Logger, serverOf } from '../log.ts';
import { CacheGeneration } from './cache-generation.ts';
import type { Redis } from './client.ts';
import { closeRedis, redisFix, whenReady } from './connect.ts';
import { createRedis, createWorkerRedis } from './driver.ts';
import { FeedTail } from './feed.ts';
import { ItemStore } from './item-store.ts';
import { agreedPartitions, partitionsInRedis } from './partitions.ts';

type ConnectionName = 'queue' | 'cache' | 'blocking';

/** The least that services wait for Redis when they open. With many partitions they make many connections. */
const START_TIMEOUT_MS = 5000;

/** Below the ratio from which submits are delayed (producer/admission.ts). */
const COPIES_RATIO = 0.6;

export type RedisConfig = Pick<
  Config,
  | 'redisUrl'
  | 'cacheRedisUrl'
  | 'namespace'
  | 'cacheNeverOlder'
  | 'partitions'
  | 'maxMemoryShare'
  | 'enqueueTimeoutMs'
>;

/**
 * All that one process has in Redis. Each connection is made when it is first asked for, connects when `ready` or
 * `connect` names it, and is closed with the others.
 */
export class RedisBackend {
  /** Keys of what is there once for the deployment. */
  readonly keys: Keys;
  protected readonly log: Logger;
  protected readonly config: RedisConfig;
  readonly #connections = new Map<ConnectionName, Redis>();
  #generation: CacheGeneration | undefined;
  #items: ItemStore | undefined;
  #feeds: readonly FeedTail[] = [];
  /** By partition. */
  readonly #watches = new Map<number, Redis>();
  #lanes: Promise<Lanes> | undefined;

  constructor(config: RedisConfig, log: Logger) {
    this.config = config;
    this.log = log;
    this.keys = keysOf(config.namespace);
  }

  /** How long a service waits for Redis when it opens: a caller that lets submits wait longer lets opening wait as long. */
  get startTimeoutMs(): number {
    return Math.max(START_TIMEOUT_MS, this.config.enqueueTimeoutMs);
  }

  /** Commands to the queue's Redis. They fail at once while it is away. */
  get queue(): Redis {
    return this.#connection('queue');
  }

  /** Commands to the Redis of the L2 copies, which may be the same server. */
  get cache(): Redis {
    return this.#connection('cache');
  }

  /** For one BullMQ worker or more: its commands wait for the server, and it takes jobs also while Redis is full. */
  get blocking(): Redis {
    return this.#connection('blocking');
  }

  /** To the queue's Redis, for one owner whose commands block: each partition has one. */
  watch(partition: number): Redis {
    let redis = this.#watches.get(partition);
    if (redis === undefined) {
      redis = createRedis(this.config.redisUrl, 'failFast', this.log);
      this.#watches.set(partition, redis);
    }
    return redis;
  }

  /**
   * The partitions of the deployment. It is asked for them once.
   * @throws PartitionsError, and why the deployment could not be asked
   */
  lanes(): Promise<Lanes> {
    this.#lanes ??= this.learnLanes().catch((error: unknown) => {
      this.#lanes = undefined;
      throw error;
    });
    return this.#lanes;
  }

  /** As `lanes`, for figures: what Redis knows will do, also while Postgres is away. */
  async lanesForFigures(): Promise<Lanes> {
    if (this.#lanes !== undefined) return this.#lanes;
    const stored = await partitionsInRedis(this.queue, this.keys);
    return stored === undefined ? this.lanes() : new Lanes(this.config.namespace, stored);
  }

  /**
   * Redis may not know the number, because it is new or has lost its data. Then the configured one counts. If that is wrong,
   * nothing is put into a wrong lane: no lane of several gives stamps before a process that knows Postgres has marked it.
   */
  protected async learnLanes(): Promise<Lanes> {
    const { namespace, partitions } = this.config;
    const stored = await partitionsInRedis(this.queue, this.keys);
    return new Lanes(
      namespace,
      stored === undefined ? (partitions ?? 1) : agreedPartitions(partitions, stored),
    );
  }

  get generation(): CacheGeneration {
    return (this.#generation ??= new CacheGeneration(
      this.cache,
      this.queue,
      () => this.lanes(),
      this.config,
      this.log,
    ));
  }

  /** The L2 copies. */
  get items(): ItemStore {
    return (this.#items ??= new ItemStore(this.generation, this.#maxCopiesShare));
  }

  /** One for each partition, because a connection can wait for one feed only. */
  feeds({ keys }: Lanes): readonly FeedTail[] {
    if (this.#feeds.length === 0) {
      this.#feeds = keys.map((lane) => new FeedTail(this.config.redisUrl, lane, this.log));
    }
    return this.#feeds;
  }

  /**
   * Waits until all of these can be used: of `cache` also the generation of its copies is known then, and every feed has taken
   * its place at the head. `cache` and `feeds` need `queue`.
   * @throws QueueUnavailableError; TierUnavailableError when it is a cache of its own
   */
  async ready(timeoutMs: number, ...names: (ConnectionName | 'feeds')[]): Promise<void> {
    await Promise.all(names.map((name) => this.#ready(name, timeoutMs)));
  }

  /** Begins to connect and does not wait. It goes on until the server is there. */
  connect(...names: ConnectionName[]): void {
    for (const name of names)
      this.#connection(name)
        .connect()
        .catch(() => undefined);
  }

  /**
   * Runs the steps that open a service. When one fails, everything here is closed again.
   * @throws what the step throws; QueueUnavailableError in place of an error that is not Tierline's
   */
  async opening<T>(steps: () => Promise<T>): Promise<T> {
    try {
      return await steps();
    } catch (error) {
      await this.close();
      throw this.#unavailable('queue', error);
    }
  }

  async close(): Promise<void> {
    this.#generation?.close();
    // Not politely: it may be blocked for a while.
    for (const watch of this.#watches.values()) watch.disconnect();
    await Promise.all([
      ...this.#feeds.map((feed) => feed.close()),
      ...Array.from([...this.#connections.values(), ...this.#watches.values()], closeRedis),
    ]);
  }

  /** On the server of the queue, copies end before they alone would make submits wait: nothing is evicted there. */
  get #maxCopiesShare(): number {
    const { redisUrl, cacheRedisUrl = redisUrl, maxMemoryShare } = this.config;
    return cacheRedisUrl === redisUrl ? COPIES_RATIO * maxMemoryShare : 0;
  }

  #connection(name: ConnectionName): Redis {
    let redis = this.#connections.get(name);
    if (redis === undefined) {
      const { url } = this.#server(name);
      redis = name === 'blocking' ? createWorkerRedis(url, this.log) : createRedis(url, 'failFast', this.log);
      this.#connections.set(name, redis);
    }
    return redis;
  }

  async #ready(name: ConnectionName | 'feeds', timeoutMs: number): Promise<void> {
    try {
      if (name === 'feeds') return await this.#startFeeds(timeoutMs);
      await whenReady(this.#connection(name), timeoutMs);
      if (name === 'cache') await this.generation.known(timeoutMs);
    } catch (error) {
      throw this.#unavailable(name, error);
    }
  }

  async #startFeeds(timeoutMs: number): Promise<void> {
    const feeds = this.#feeds.length > 0 ? this.#feeds : this.feeds(await this.lanes());
    await Promise.all(feeds.map((feed) => feed.start(timeoutMs)));
  }

  #server(name: ConnectionName | 'feeds'): { url: string; variable: 'REDIS_URL' | 'CACHE_REDIS_URL' } {
    const { redisUrl, cacheRedisUrl } = this.config;
    return name === 'cache' && cacheRedisUrl !== undefined
      ? { url: cacheRedisUrl, variable: 'CACHE_REDIS_URL' }
      : { url: redisUrl, variable: 'REDIS_URL' };
  }

  #unavailable(name: ConnectionName | 'feeds', cause: unknown): TierlineError {
    if (cause instanceof TierlineError) return cause;
    const { url, variable } = this.#server(name);
    const text = `Redis at ${serverOf(url)} cannot be used: ${messageOf(cause)}; ${redisFix(cause, variable)}`;
    return variable === 'REDIS_URL'
      ? new QueueUnavailableError(`${text}.`, { cause })
      : new TierUnavailableError('l2', new Error(text, { cause }));
  }
}
