import { CallGate } from '../call-gate.ts';
import type { Config } from '../config.ts';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import type { Pool } from '../postgres/pool.ts';
import type { QueueProducer } from '../producer/queue-producer.ts';
import { connectReader } from '../read/open-reader.ts';
import { MerkleView } from '../read/merkle-view.ts';
import type { TieredReader } from '../read/tiered-reader.ts';
import type { Merkle } from '../types.ts';
import type { Redis } from '../redis/connect.ts';
import type { FeedTail } from '../redis/feed.ts';
import type { ItemStore } from '../redis/item-store.ts';
import { Backends } from '../tiers/backends.ts';

const REDIS_TIMEOUT_MS = 2000;
const PATIENCE_MS = 5000;

export interface Copies {
  readonly cache: Redis;
  readonly items: ItemStore;
}

/** What a command needs, opened when it is first asked for and closed together. */
export class Connections {
  readonly config: Config;
  readonly log: Logger;
  readonly #backends: Backends;
  readonly #closers: (() => Promise<void>)[] = [];
  #producer: Promise<QueueProducer> | undefined;
  #reader: Promise<TieredReader> | undefined;

  constructor(config: Config, log: Logger) {
    this.config = config;
    this.log = log;
    this.#backends = new Backends(config, log, 2);
    this.onClose(() => this.#backends.close());
  }

  get keys(): Keys {
    return this.#backends.keys;
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

  /** The queue's Redis: commands fail at once while it is away. @throws QueueUnavailableError */
  async redis(): Promise<Redis> {
    await this.#backends.ready(REDIS_TIMEOUT_MS, 'queue');
    return this.#backends.queue;
  }

  /** The L2 copies. @throws QueueUnavailableError, TierUnavailableError */
  async copies(): Promise<Copies> {
    await this.#backends.ready(REDIS_TIMEOUT_MS, 'queue', 'cache');
    return this.#backends;
  }

  get feed(): FeedTail {
    return this.#backends.feed;
  }

  /** Begins to tell the listeners of `feed` what settles from now on. @throws QueueUnavailableError */
  followFeed(): Promise<void> {
    return this.#backends.ready(REDIS_TIMEOUT_MS, 'feed');
  }

  pool(): Pool {
    return this.#backends.pool;
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
}
