import type { Config } from '../config.ts';
import { messageOf, QueueUnavailableError, TierlineError, TierUnavailableError } from '../errors.ts';
import { type Keys, keysOf } from '../keys.ts';
import { type Logger, serverOf } from '../log.ts';
import { CacheGeneration } from './cache-generation.ts';
import { closeRedis, createRedis, type Redis, redisFix, runWhenFull, whenReady } from './connect.ts';
import { FeedTail } from './feed.ts';
import { ItemStore } from './item-store.ts';

/** How commands of each connection behave while the server is away (connect.ts). */
const MODES = { queue: 'failFast', cache: 'failFast', blocking: 'patient', watch: 'failFast' } as const;
type ConnectionName = keyof typeof MODES;

/** Below the ratio from which submits are delayed (producer/admission.ts). */
const COPIES_RATIO = 0.6;

export type RedisConfig = Pick<
  Config,
  'redisUrl' | 'cacheRedisUrl' | 'namespace' | 'cacheNeverOlder' | 'maxMemoryShare'
>;

/**
 * All that one process has in Redis. Each connection is made when it is first asked for, connects when `ready` or
 * `connect` names it, and is closed with the others.
 */
export class RedisBackend {
  readonly keys: Keys;
  protected readonly log: Logger;
  readonly #config: RedisConfig;
  readonly #connections = new Map<ConnectionName, Redis>();
  #generation: CacheGeneration | undefined;
  #items: ItemStore | undefined;
  #feed: FeedTail | undefined;

  constructor(config: RedisConfig, log: Logger) {
    this.#config = config;
    this.log = log;
    this.keys = keysOf(config.namespace);
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

  /** To the queue's Redis, for one owner whose commands block. */
  get watch(): Redis {
    return this.#connection('watch');
  }

  get generation(): CacheGeneration {
    return (this.#generation ??= new CacheGeneration(
      this.cache,
      this.queue,
      this.keys,
      this.#config,
      this.log,
    ));
  }

  /** The L2 copies. */
  get items(): ItemStore {
    return (this.#items ??= new ItemStore(this.cache, this.generation, this.#maxCopiesShare));
  }

  get feed(): FeedTail {
    return (this.#feed ??= new FeedTail(this.#config.redisUrl, this.keys, this.log));
  }

  /**
   * Waits until all of these can be used: of `cache` also the generation of its copies is known then, and `feed` has taken its
   * place at the head. `cache` and `feed` need `queue`.
   * @throws QueueUnavailableError; TierUnavailableError when it is a cache of its own
   */
  async ready(timeoutMs: number, ...names: (ConnectionName | 'feed')[]): Promise<void> {
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
    this.#connections.get('watch')?.disconnect();
    await Promise.all([this.#feed?.close(), ...Array.from(this.#connections.values(), closeRedis)]);
  }

  /** On the server of the queue, copies end before they alone would make submits wait: nothing is evicted there. */
  get #maxCopiesShare(): number {
    const { redisUrl, cacheRedisUrl = redisUrl, maxMemoryShare } = this.#config;
    return cacheRedisUrl === redisUrl ? COPIES_RATIO * maxMemoryShare : 0;
  }

  #connection(name: ConnectionName): Redis {
    let redis = this.#connections.get(name);
    if (redis === undefined) {
      redis = createRedis(this.#server(name).url, MODES[name], this.log);
      if (name === 'blocking') runWhenFull(redis);
      this.#connections.set(name, redis);
    }
    return redis;
  }

  async #ready(name: ConnectionName | 'feed', timeoutMs: number): Promise<void> {
    try {
      if (name === 'feed') return await this.feed.start(timeoutMs);
      await whenReady(this.#connection(name), timeoutMs);
      if (name === 'cache') await this.generation.known(timeoutMs);
    } catch (error) {
      throw this.#unavailable(name, error);
    }
  }

  #server(name: ConnectionName | 'feed'): { url: string; variable: 'REDIS_URL' | 'CACHE_REDIS_URL' } {
    const { redisUrl, cacheRedisUrl } = this.#config;
    return name === 'cache' && cacheRedisUrl !== undefined
      ? { url: cacheRedisUrl, variable: 'CACHE_REDIS_URL' }
      : { url: redisUrl, variable: 'REDIS_URL' };
  }

  #unavailable(name: ConnectionName | 'feed', cause: unknown): TierlineError {
    if (cause instanceof TierlineError) return cause;
    const { url, variable } = this.#server(name);
    const text = `Redis at ${serverOf(url)} cannot be used: ${messageOf(cause)}; ${redisFix(cause, variable)}`;
    return variable === 'REDIS_URL'
      ? new QueueUnavailableError(`${text}.`, { cause })
      : new TierUnavailableError('l2', new Error(text, { cause }));
  }
}
