import { Gauge, type Registry } from 'prom-client';
import type { Config } from '../config.ts';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import { readTotals, type Totals } from '../postgres/totals.ts';
import type { Queryable } from '../postgres/pool.ts';
import { pressureOf } from '../producer/pressure.ts';
import { type Backlog, readBacklog, waitingOf } from '../redis/backlog.ts';
import type { Redis } from '../redis/connect.ts';
import { type CopyTurn, readTurns } from '../redis/copy-turns.ts';
import { countLost } from '../redis/lost-writes.ts';
import { ServerInfo } from '../redis/server-info.ts';
import { seconds } from './buckets.ts';

export interface DeploymentSources {
  /** `failFast` connections. */
  readonly queue: Redis;
  readonly cache: Redis;
  readonly db: Queryable;
  readonly keys: Keys;
  readonly config: Config;
  readonly log: Logger;
}

interface Memory {
  readonly used: number;
  /** 0 without a limit. */
  readonly limit: number;
}

interface Snapshot {
  readonly backlog: Backlog | undefined;
  readonly lostWrites: number | undefined;
  /** The last whole turn of the sweep of L2. */
  readonly copyTurn: CopyTurn | undefined;
  readonly totals: Totals | undefined;
  readonly queueMemory: Memory | undefined;
  readonly cacheMemory: Memory | undefined;
}

/** Scrapes and pages that come together share one reading. */
const FRESH_MS = 250;

/**
 * Figures of the whole deployment, read when they are scraped: the same from every process, so let one kind of process
 * show them. What cannot be read is left out and told by `tierline_backend_up`; zeros would look like good news.
 */
export class DeploymentMetrics {
  readonly #sources: DeploymentSources;
  #reading: Promise<Snapshot> | undefined;

  constructor(registry: Registry, sources: DeploymentSources) {
    this.#sources = sources;
    const { config } = sources;
    const gauge = (name: string, help: string, read: (snapshot: Snapshot) => number | undefined) =>
      this.#gauge(registry, name, help, read);

    gauge('tierline_items', 'Live items in Postgres, by the Merkle tree', (s) => s.totals?.items);
    gauge('tierline_dead_letters', 'Operations in dead_letters', (s) => s.totals?.deadLetters);
    gauge(
      'tierline_merkle_pending_batches',
      'Batches whose Merkle deltas are not folded yet',
      (s) => s.totals?.merklePending,
    );
    gauge(
      'tierline_pending_items',
      'Distinct ids whose newest write has not settled',
      (s) => s.backlog?.pendingItems,
    );
    gauge(
      'tierline_waiting_chunks',
      'Chunks in the queue that no worker has taken',
      (s) => s.backlog?.chunksWaiting,
    );
    gauge('tierline_active_chunks', 'Chunks in the hands of a worker', (s) => s.backlog?.chunksActive);
    gauge(
      'tierline_oldest_pending_seconds',
      'Age of the oldest unsettled chunk',
      (s) => s.backlog && seconds(s.backlog.oldestMs),
    );
    gauge(
      'tierline_pressure_ratio',
      'The largest of waiting items, waiting bytes and memory against their limits; 1 is full',
      (s) => s.backlog && pressureOf(waitingOf(s.backlog), config).ratio,
    );
    gauge('tierline_feed_held_entries', 'Entries that the change feed holds', (s) => s.backlog?.feedLength);
    gauge(
      'tierline_feed_head',
      'Number of the newest entry of the change feed; falls only when Redis lost its data',
      (s) => s.backlog?.feedEntries,
    );
    gauge(
      'tierline_lost_writes',
      'Settled writes that L2 has and Postgres has lost; run `tierline copies restore --all`',
      (s) => s.lostWrites,
    );
    gauge(
      'tierline_copies_turn_seconds',
      'Time that the last comparison of every L2 copy with its row took',
      (s) => s.copyTurn && seconds((s.copyTurn.endedMs ?? 0) - s.copyTurn.startedMs),
    );
    gauge(
      'tierline_copies_turn_end_timestamp_seconds',
      'When every L2 copy had last been compared with its row, in seconds since 1970',
      (s) => s.copyTurn?.endedMs && seconds(s.copyTurn.endedMs),
    );
    this.#memory(registry, 'tierline_redis_memory_bytes', 'Memory used by Redis', 'used');
    this.#memory(
      registry,
      'tierline_redis_memory_limit_bytes',
      'Memory Redis may use (maxmemory); 0 is no limit',
      'limit',
    );
    const read = () => this.#read();
    registry.registerMetric(
      new Gauge({
        name: 'tierline_backend_up',
        help: '1 when the backend answered this scrape, else 0',
        labelNames: ['backend'],
        registers: [],
        async collect() {
          const { backlog, totals } = await read();
          this.set({ backend: 'redis' }, backlog === undefined ? 0 : 1);
          this.set({ backend: 'postgres' }, totals === undefined ? 0 : 1);
        },
      }),
    );
  }

  #gauge(
    registry: Registry,
    name: string,
    help: string,
    value: (snapshot: Snapshot) => number | undefined,
  ): void {
    const read = () => this.#read();
    registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        async collect() {
          const now = value(await read());
          if (now === undefined) this.remove();
          else this.set(now);
        },
      }),
    );
  }

  /** One series a server: the cache's is the queue's own unless `CACHE_REDIS_URL` is set. */
  #memory(registry: Registry, name: string, help: string, field: keyof Memory): void {
    const read = () => this.#read();
    registry.registerMetric(
      new Gauge({
        name,
        help,
        labelNames: ['role'],
        registers: [],
        async collect() {
          const { queueMemory, cacheMemory } = await read();
          this.reset();
          if (queueMemory !== undefined) this.set({ role: 'queue' }, queueMemory[field]);
          if (cacheMemory !== undefined) this.set({ role: 'cache' }, cacheMemory[field]);
        },
      }),
    );
  }

  #read(): Promise<Snapshot> {
    this.#reading ??= this.#readAll().finally(() => {
      setTimeout(() => (this.#reading = undefined), FRESH_MS).unref();
    });
    return this.#reading;
  }

  async #readAll(): Promise<Snapshot> {
    const { queue, cache, db, keys } = this.#sources;
    const [backlog, lostWrites, turns, totals, queueMemory, cacheMemory] = await Promise.all([
      this.#orNothing(readBacklog(queue, keys)),
      this.#orNothing(countLost(queue, keys)),
      this.#orNothing(readTurns(queue, keys)),
      this.#orNothing(readTotals(db)),
      this.#orNothing(memoryOf(queue)),
      this.#orNothing(memoryOf(cache)),
    ]);
    return { backlog, lostWrites, copyTurn: turns?.last, totals, queueMemory, cacheMemory };
  }

  async #orNothing<T>(reading: Promise<T>): Promise<T | undefined> {
    try {
      return await reading;
    } catch (error) {
      this.#sources.log.debug({ err: error }, 'a figure could not be read');
      return undefined;
    }
  }
}

async function memoryOf(redis: Redis): Promise<Memory> {
  const info = await ServerInfo.of(redis, 'memory');
  return { used: info.number('used_memory') ?? 0, limit: info.number('maxmemory') ?? 0 };
}

/** For a process that shows them and has nothing else to do with them. */
export function addDeploymentMetrics(registry: Registry, sources: DeploymentSources): DeploymentMetrics {
  return new DeploymentMetrics(registry, sources);
}
