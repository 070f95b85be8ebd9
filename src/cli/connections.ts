import { CallGate } from '../call-gate.ts';
import type { Config } from '../config.ts';
import { messageOf, QueueUnavailableError, TierUnavailableError } from '../errors.ts';
import { type Keys, keysOf } from '../keys.ts';
import type { Logger } from '../log.ts';
import { closePool, createPool, type Pool } from '../postgres/pool.ts';
import type { QueueProducer } from '../producer/queue-producer.ts';
import { connectReader } from '../read/open-reader.ts';
import { MerkleView } from '../read/merkle-view.ts';
import type { TieredReader } from '../read/tiered-reader.ts';
import type { Merkle } from '../types.ts';
import { CacheGeneration } from '../redis/cache-generation.ts';
import { closeRedis, createRedis, type Redis, whenReady } from '../redis/connect.ts';
import { ItemStore } from '../redis/item-store.ts';

const REDIS_TIMEOUT_MS = 2000;
const PATIENCE_MS = 5000;

export interface Copies {
  readonly cache: Redis;
  readonly items: ItemStore;
}

/** What a command needs, opened when it is first asked for and closed together. */
export class Connections {
  readonly config: Config;
  readonly keys: Keys;
  readonly log: Logger;
  readonly #closers: (() => Promise<void>)[] = [];
  #producer: Promise<QueueProducer> | undefined;
  #reader: Promise<TieredReader> | undefined;
  #redis: Promise<Redis> | undefined;
  #copies: Promise<Copies> | undefined;
  #pool: Pool | undefined;

  constructor(config: Config, log: Logger) {
    this.config = config;
    this.keys = keysOf(config.namespace);
    this.log = log;
  }

  /** @throws as `openProducer` */
  producer(): Promise<QueueProducer> {
    // Nobody waits for a request here: a load of millions shall survive a short absence of Redis.
    const enqueueTimeoutMs = Math.max(this.config.enqueueTimeoutMs, PATIENCE_MS);
    this.#producer ??= this.#closing(
      // Loaded when it is needed: BullMQ takes half of what the command line takes to start.
      import('../producer/open-producer.ts').then(({ connectProducer }) =>
        connectProducer({ ...this.config, enqueueTimeoutMs }, this.log),
      ),
    );
    return this.#producer;
  }

  /** The Merkle tables; needs Postgres alone. */
  merkle(): Merkle {
    return new MerkleView(this.pool(), new CallGate('reader'));
  }

  /** A reader that goes on without Redis. @throws as `openReader` */
  reader(): Promise<TieredReader> {
    // One command reads an id once: L1 and the filter would be filled for nothing.
    const config = { ...this.config, l1MaxBytes: 0, filterMaxBytes: 0 };
    return (this.#reader ??= this.#closing(connectReader(config, this.log, { needsRedis: false })));
  }

  /** A `failFast` connection to the queue's Redis. @throws QueueUnavailableError */
  redis(): Promise<Redis> {
    return (this.#redis ??= this.#connect());
  }

  /** The L2 copies. @throws QueueUnavailableError, TierUnavailableError */
  copies(): Promise<Copies> {
    return (this.#copies ??= this.#connectCopies());
  }

  pool(): Pool {
    if (this.#pool === undefined) {
      const pool = createPool(this.config.databaseUrl, 2, this.log);
      this.#closers.push(() => closePool(pool));
      this.#pool = pool;
    }
    return this.#pool;
  }

  /** Closes something with the rest. */
  onClose(close: () => Promise<void>): void {
    this.#closers.push(close);
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#closers.map((close) => close()));
  }

  async #closing<T extends { close(): Promise<void> }>(opening: Promise<T>): Promise<T> {
    const opened = await opening;
    this.onClose(() => opened.close());
    return opened;
  }

  async #connectCopies(): Promise<Copies> {
    const queue = await this.redis();
    const cache = createRedis(this.config.cacheRedisUrl ?? this.config.redisUrl, 'failFast', this.log);
    const generation = new CacheGeneration(cache, queue, this.keys, this.config, this.log);
    this.onClose(async () => {
      generation.close();
      await closeRedis(cache);
    });
    try {
      await whenReady(cache, REDIS_TIMEOUT_MS);
      await generation.known(REDIS_TIMEOUT_MS);
    } catch (error) {
      throw new TierUnavailableError('l2', error);
    }
    return { cache, items: new ItemStore(cache, generation) };
  }

  async #connect(): Promise<Redis> {
    const redis = createRedis(this.config.redisUrl, 'failFast', this.log);
    this.onClose(() => closeRedis(redis));
    try {
      await whenReady(redis, REDIS_TIMEOUT_MS);
    } catch (error) {
      throw new QueueUnavailableError(`Redis cannot be reached: ${messageOf(error)}. Check REDIS_URL.`, {
        cause: error,
      });
    }
    return redis;
  }
}
