import { Gauge, type Registry } from 'prom-client';
import type { Config } from '../config.ts';
import { keysOf } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import { type AllTotals, totalsOf } from '../postgres/all-items.ts';
import type { Shards } from '../postgres/shards.ts';
import { type MoveFigures, readMove } from '../postgres/map-changes.ts';
import { pingPostgres } from '../postgres/pool.ts';
import { pressureOf } from '../producer/admission.ts';
import { type Backlog, readBacklog, waitingOf } from '../redis/backlog.ts';
import type { Redis } from '../redis/client.ts';
import { memoryOf } from '../redis/masters.ts';
import { type CopyTurn, countLost, readTurns } from '../redis/copies.ts';
import { Instruments, seconds } from './registry.ts';

export interface DeploymentSources {
  /** `failFast` connections. */
  readonly queue: Redis;
  readonly cache: Redis;
  readonly shards: Shards;
  readonly lanes: () => Promise<Lanes>;
  readonly config: Config;
  readonly log: Logger;
}

interface Memory {
  readonly used: number;
  /** 0 without a limit. */
  readonly limit: number;
}

interface Snapshot {
  readonly config: Config;
  readonly backlog: Backlog | undefined;
  readonly lostWrites: number | undefined;
  /** The last whole turn of the sweep of L2. */
  readonly copyTurn: CopyTurn | undefined;
  readonly totals: AllTotals | undefined;
  /** A partition on its way to another shard. */
  readonly move: MoveFigures | undefined;
  readonly queueMemory: Memory | undefined;
  readonly cacheMemory: Memory | undefined;
}

type Figure = readonly [name: string, help: string, read: (snapshot: Snapshot) => number | undefined];

const FIGURES: readonly Figure[] = [
  ['tierline_items', 'Live items in Postgres, by the Merkle tree', (s) => s.totals?.items],
  ['tierline_dead_letters', 'Operations in dead_letters', (s) => s.totals?.deadLetters],
  [
    'tierline_merkle_pending_batches',
    'Batches whose Merkle deltas are not folded yet',
    (s) => s.totals?.merklePending,
  ],
  [
    'tierline_pending_items',
    'Distinct ids whose newest write has not settled',
    (s) => s.backlog?.pendingItems,
  ],
  [
    'tierline_waiting_chunks',
    'Chunks in the queue that no worker has taken',
    (s) => s.backlog?.chunksWaiting,
  ],
  ['tierline_active_chunks', 'Chunks that a worker is writing', (s) => s.backlog?.chunksActive],
  [
    'tierline_oldest_pending_seconds',
    'Age of the oldest unsettled chunk',
    (s) => s.backlog && seconds(s.backlog.oldestMs),
  ],
  [
    'tierline_pressure_ratio',
    'The largest of waiting items, waiting bytes and memory against their limits; 1 is full',
    (s) => s.backlog && pressureOf(waitingOf(s.backlog), s.config).ratio,
  ],
  ['tierline_feed_held_entries', 'Entries that the change feed holds', (s) => s.backlog?.feedLength],
  [
    'tierline_feed_head',
    'Number of the newest entry of the change feed; falls only when Redis lost its data',
    (s) => s.backlog?.feedEntries,
  ],
  [
    'tierline_lost_writes',
    'Settled writes that L2 has and Postgres has lost; run `tierline copies restore --all`',
    (s) => s.lostWrites,
  ],
  [
    'tierline_copies_turn_seconds',
    'Time that the last comparison of every L2 copy with its row took',
    (s) => s.copyTurn && seconds((s.copyTurn.endedMs ?? 0) - s.copyTurn.startedMs),
  ],
  [
    'tierline_copies_turn_end_timestamp_seconds',
    'When every L2 copy had last been compared with its row, in seconds since 1970',
    (s) => s.copyTurn?.endedMs && seconds(s.copyTurn.endedMs),
  ],
];

/** Scrapes that come together share one reading. */
const FRESH_MS = 250;

/**
 * Shows the figures of the whole deployment, read when they are scraped. They are the same from every process, so let one
 * kind of process show them. A figure that cannot be read is left out, because a zero would look like good news;
 * `tierline_backend_up` tells which backend did not answer.
 */
export function addDeploymentMetrics(registry: Registry, sources: DeploymentSources): void {
  let reading: Promise<Snapshot> | undefined;
  const read = () =>
    (reading ??= readSnapshot(sources).finally(() => {
      setTimeout(() => (reading = undefined), FRESH_MS).unref();
    }));
  const make = new Instruments(registry);
  for (const [name, help, value] of FIGURES) make.gauge(name, help, async () => value(await read()));
  addShards(registry, sources, read);
  addMemory(registry, read, 'tierline_redis_memory_bytes', 'Memory used by Redis', 'used');
  addMemory(
    registry,
    read,
    'tierline_redis_memory_limit_bytes',
    'Memory Redis may use (maxmemory); 0 is no limit',
    'limit',
  );
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

const PING_MS = 2000;

/** One series a shard, when there are several. */
function addShards(registry: Registry, { shards }: DeploymentSources, read: () => Promise<Snapshot>): void {
  if (shards.isOne) return;
  registry.registerMetric(
    new Gauge({
      name: 'tierline_shard_up',
      help: '1 when the shard answered this scrape, else 0',
      labelNames: ['shard'],
      registers: [],
      async collect() {
        const answers = await Promise.allSettled(shards.all.map(({ pool }) => pingPostgres(pool, PING_MS)));
        shards.all.forEach(({ name }, i) =>
          this.set({ shard: name }, answers[i]?.status === 'fulfilled' ? 1 : 0),
        );
      },
    }),
  );
  registry.registerMetric(
    new Gauge({
      name: 'tierline_shard_items',
      help: 'Live items of each shard, by the Merkle tree',
      labelNames: ['shard'],
      registers: [],
      async collect() {
        this.reset();
        for (const [shard, items] of (await read()).totals?.itemsByShard ?? []) this.set({ shard }, items);
      },
    }),
  );
  registry.registerMetric(
    new Gauge({
      name: 'tierline_move_rows',
      help: 'Rows of the partition that is being moved, at the shard it comes from and at the one it goes to; no series while none is',
      labelNames: ['partition', 'step', 'shard'],
      registers: [],
      async collect() {
        this.reset();
        const { move } = await read();
        if (move === undefined) return;
        const { partition, step } = move;
        this.set({ partition, step, shard: move.from }, move.rowsFrom);
        this.set({ partition, step, shard: move.to }, move.rowsTo);
      },
    }),
  );
}

/** One series a server: the cache has its own only when `CACHE_REDIS_URL` is set. */
function addMemory(
  registry: Registry,
  read: () => Promise<Snapshot>,
  name: string,
  help: string,
  field: keyof Memory,
): void {
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

async function readSnapshot({
  queue,
  cache,
  shards,
  lanes,
  config,
  log,
}: DeploymentSources): Promise<Snapshot> {
  const orNothing = async <T>(figure: Promise<T>): Promise<T | undefined> => {
    try {
      return await figure;
    } catch (error) {
      log.debug({ err: error }, 'a figure could not be read');
      return undefined;
    }
  };
  const home = keysOf(config.namespace);
  const [backlog, lostWrites, turns, totals, move, queueMemory, cacheMemory] = await Promise.all([
    orNothing(lanes().then((known) => readBacklog(queue, known))),
    orNothing(countLost(queue, home)),
    orNothing(readTurns(queue, home)),
    orNothing(totalsOf(shards)),
    orNothing(readMove(shards)),
    orNothing(memoryOf(queue)),
    orNothing(memoryOf(cache)),
  ]);
  return { config, backlog, lostWrites, copyTurn: turns?.last, totals, move, queueMemory, cacheMemory };
}
