import { CallGate } from '../call-gate.ts';
import type { Config } from '../config.ts';
import type { Keys } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import type { OwnPeer } from '../peers/local-peer.ts';
import type { Shards } from '../postgres/shards.ts';
import type { QueueProducer } from '../producer/queue-producer.ts';
import { connectReader } from '../read/open-reader.ts';
import { MerkleView } from '../read/merkle-view.ts';
import type { TieredReader } from '../read/tiered-reader.ts';
import type { Merkle } from '../types/merkle.ts';
import type { Redis } from '../redis/client.ts';
import type { FeedListener } from '../redis/feed.ts';
import type { CopyStore } from '../tiers/tier.ts';
import { Backends } from '../tiers/backends.ts';

const REDIS_TIMEOUT_MS = 2000;
const MIN_ENQUEUE_TIMEOUT_MS = 5000;

export interface Copies {
  readonly cache: Redis;
  readonly items: CopyStore;
}

/** The connections of a command. Each is opened when it is first asked for; all are closed together. */
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

  /** Keys of what is there once for the deployment. */
  get keys(): Keys {
    return this.#backends.keys;
  }

  /** @throws QueueUnavailableError, TierUnavailableError, SchemaMissingError, PartitionsError */
  async lanes(): Promise<Lanes> {
    await this.#backends.ready(REDIS_TIMEOUT_MS, 'queue');
    return this.#backends.lanes();
  }

  /** As Redis knows them. @throws as `lanes` */
  async lanesForFigures(): Promise<Lanes> {
    await this.#backends.ready(REDIS_TIMEOUT_MS, 'queue');
    return this.#backends.lanesForFigures();
  }

  /** @throws as `openProducer` */
  producer(): Promise<QueueProducer> {
    // A load of millions of lines must survive a short outage of Redis, and no request waits for it.
    const enqueueTimeoutMs = Math.max(this.config.enqueueTimeoutMs, MIN_ENQUEUE_TIMEOUT_MS);
    this.#producer ??= this.#closing(
      // BullMQ takes a third of the start-up time, so it is loaded only for commands that write.
      import('../producer/open-producer.ts').then(({ connectProducer }) =>
        connectProducer({ ...this.config, enqueueTimeoutMs }, this.log),
      ),
    );
    return this.#producer;
  }

  /** The Merkle tables; needs Postgres alone. */
  merkle(): Merkle {
    return new MerkleView(this.shards, new CallGate('reader'), this.config.merkleKey);
  }

  /** A reader that asks Postgres while Redis is away. @throws as `openReader` */
  reader(): Promise<TieredReader> {
    // A command reads each id once, so L1 and the filter would not help.
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

  /** Starts the feeds of all partitions: the listener hears what settles from now on. @throws QueueUnavailableError */
  async followFeeds(listener: FeedListener): Promise<void> {
    for (const feed of this.#backends.feeds(await this.lanesForFigures())) feed.listen(listener);
    await this.#backends.ready(REDIS_TIMEOUT_MS, 'feeds');
  }

  get shards(): Shards {
    return this.#backends.shards;
  }

  /** This deployment as a side of a repair. @throws as `openLocalPeer` */
  localPeer(): Promise<OwnPeer> {
    return this.#closing(
      import('../peers/local-peer.ts').then(({ connectLocalPeer }) =>
        connectLocalPeer(this.config, this.log),
      ),
    );
  }

  /** Adds something that `close` closes too. */
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
