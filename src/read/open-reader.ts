import { abortableOpen } from '../abortable.ts';
import { CallGate } from '../call-gate.ts';
import { type Config, loadConfig, type OpenOptions } from '../config.ts';
import { QueueUnavailableError, TierUnavailableError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import { createLogger, type Logger } from '../log.ts';
import { Digester } from '../merkle/digest.ts';
import { checkGivenMerkleKey, matchMerkleKey } from '../postgres/merkle-key.ts';
import type { Shard, Shards } from '../postgres/shards.ts';
import type { FeedTail } from '../redis/feed.ts';
import { Backends } from '../tiers/backends.ts';
import { CopyTier } from '../tiers/copy-tier.ts';
import { FilterSource } from '../tiers/filter-source.ts';
import { MemoryTier } from '../tiers/memory.ts';
import { PostgresTier } from '../tiers/postgres.ts';
import { openReplicas, primaryTimeoutMs, type Replicas } from '../tiers/replicas.ts';
import type { ReadCounters, Reader } from '../types/read.ts';
import { Coherence, LaneCoherence } from './coherence.ts';
import { ExistenceCheck } from './existence.ts';
import { Floors } from './floors.ts';
import { ItemReads } from './item-reads.ts';
import { Epochs, type L1Entry } from './l1-entry.ts';
import { settledQuestion } from './lane-settled.ts';
import { MerkleView } from './merkle-view.ts';
import { NO_OWN_WRITES, type OwnWriteView } from './own-writes.ts';
import { PendingReads } from './pending-reads.ts';
import { Queries, RowReconciler } from './queries.ts';
import { TierLookup } from './tier-lookup.ts';
import { TieredReader } from './tiered-reader.ts';
import { type AbsenceFilter, LaneFilters, TrustedFilter } from './trusted-filter.ts';
import { VerifiedReads } from './verified-reads.ts';

const START_TIMEOUT_MS = 2000;

/**
 * Opens the read side: Redis and Postgres, for any service.
 * @throws ConfigError, TierUnavailableError, UnsafeServerError, SchemaMissingError, MerkleKeyError
 */
export function openReader(options?: OpenOptions): Promise<Reader> {
  return abortableOpen(options, async (overrides) => {
    const config = loadConfig(overrides);
    return connectReader(config, createLogger('reader', config.logLevel));
  });
}

/** @internal */
export interface ReaderConnection {
  /** Own writes of the process, to be seen before they settle. */
  readonly ownWrites?: OwnWriteView;
  /** Whether opening fails while Redis is away; without it reads go to Postgres. @default true */
  readonly needsRedis?: boolean;
}

/**
 * As `openReader`, for the other parts of Tierline.
 * @internal
 */
export async function connectReader(
  config: Config,
  log: Logger,
  { ownWrites = NO_OWN_WRITES, needsRedis = true }: ReaderConnection = {},
): Promise<TieredReader> {
  const backends = new Backends(config, log, config.poolSize);
  const { queue, cache, generation, shards } = backends;
  // A caller that lets reads wait longer for Redis lets opening wait as long.
  const startTimeoutMs = Math.max(START_TIMEOUT_MS, config.l2TimeoutMs);
  const closers: (() => void | Promise<void> | undefined)[] = [];
  let isRedisAway = false;
  const withRedis = async (step: () => Promise<void>) => {
    if (isRedisAway) return;
    await step().catch((error: unknown) => {
      if (needsRedis) throw error;
      isRedisAway = true;
      log.warn({ err: error }, 'Redis is away: reads go to Postgres');
    });
  };
  const open = async () => {
    await withRedis(() => backends.ready(startTimeoutMs, 'queue'));
    await backends.postgresReady();
    await shards.each(({ pool }) => checkGivenMerkleKey(pool, config.merkleKey));
    const lanes = await backends.lanes();
    const l1 = new MemoryTier<L1Entry>({ maxBytes: config.l1MaxBytes, ttlMs: config.l1TtlMs });
    const l2 = new CopyTier(backends.items, { ...config, timeoutMs: config.l2TimeoutMs }, log);
    const l3 = new PostgresTier(shards, lanes, primaryTimeoutMs(config));
    const tails = backends.feeds(lanes);
    const replicas = openReplicas({ shards, queue, lanes, tails }, config, log);
    const ofReplicas = replicas?.listeners(lanes.count) ?? [];
    const filterOptions = { maxBytes: config.filterMaxBytes / lanes.count, timeoutMs: config.l2TimeoutMs };
    const filters = tails.map((tail, partition) => {
      const source = new FilterSource(shards, queue, lanes, partition, log);
      return new TrustedFilter(source, tail, queue, lanes.keys[partition] as Keys, filterOptions, log);
    });
    const filter = filters.length === 1 ? (filters[0] as TrustedFilter) : new LaneFilters(lanes, filters);
    const lookup = new TierLookup(l2, l3, filter, config, log, replicas);
    const floors = new Floors(l1, settledQuestion(queue, lanes, config.l2TimeoutMs), log);
    const epochs = new Epochs(lanes);
    const pendingReads = new PendingReads(l1, floors, lookup, epochs);
    // Before the tails start: each takes its cursor first, and L1 is served from then on.
    const coherences = tails.map((tail, partition) => {
      const followers = [
        filters[partition] as TrustedFilter,
        l2,
        ...ofReplicas.slice(partition, partition + 1),
      ];
      const one = new Coherence(l1, floors, pendingReads, ownWrites, followers, epochs, partition, log);
      tail.listen(one);
      tail.listen(generation);
      return one;
    });
    const coherence = new LaneCoherence(coherences);
    closers.push(
      () => coherence.close(),
      () => filter.close(),
      () => replicas?.close(),
    );
    await withRedis(() => backends.ready(startTimeoutMs, 'cache'));
    await withRedis(() => backends.ready(startTimeoutMs, 'feeds'));
    return { lanes, l1, l2, l3, replicas, tails, filter, lookup, floors, pendingReads, coherence };
  };
  const opened = await backends.opening(open).catch(async (error: unknown) => {
    for (const close of closers) await close();
    throw error instanceof QueueUnavailableError ? new TierUnavailableError('l2', error) : error;
  });
  const { lanes, l1, l2, l3, replicas, tails, filter, lookup, floors, pendingReads, coherence } = opened;
  const gate = new CallGate('reader');
  const reads = new ItemReads(l1, floors, pendingReads, ownWrites, gate);
  const existence = new ExistenceCheck(floors, l2, l3, filter, config, replicas);
  const reconciler = new RowReconciler(l1, floors, ownWrites, (ids) => reads.getMany(ids));
  return new TieredReader({
    gate,
    l1,
    reads,
    verified: new VerifiedReads(
      l1,
      floors,
      l2,
      l3,
      ownWrites,
      (id) => reads.lookup(id),
      digesterOnce(shards, config.merkleKey),
    ),
    coherence,
    tails,
    filter,
    existence,
    ownWrites,
    queries: new Queries(shards, reconciler, config.l3TimeoutMs, gate),
    status: { queue, lanes, timeoutMs: config.l2TimeoutMs, l2, l3, floors, reads, ownWrites },
    health: { queue, cache, shards, timeoutMs: START_TIMEOUT_MS, feed: feedsAsOne(tails), filter, replicas },
    merkle: new MerkleView(shards, gate, config.merkleKey),
    counters: () =>
      countersOf({ l1, reads, pendingReads, coherence, lookup, l2, l3, replicas, existence, filter, tails }),
    async release() {
      await Promise.all([l2.close(), replicas?.close()]);
      await backends.close();
    },
  });
}

/** Whether the feed of every partition is followed. */
function feedsAsOne(tails: readonly FeedTail[]): { readonly live: boolean } {
  return {
    get live() {
      return tails.every(({ live }) => live);
    },
  };
}

interface Counted {
  readonly l1: MemoryTier<L1Entry>;
  readonly reads: ItemReads;
  readonly pendingReads: PendingReads;
  readonly coherence: LaneCoherence;
  readonly lookup: TierLookup;
  readonly l2: CopyTier;
  readonly l3: PostgresTier;
  readonly replicas: Replicas | undefined;
  readonly existence: ExistenceCheck;
  readonly filter: AbsenceFilter;
  readonly tails: readonly FeedTail[];
}

const NO_REPLICAS: ReadCounters['replicas'] = {
  hits: 0,
  misses: 0,
  passedOn: 0,
  requests: 0,
  failures: 0,
  servers: [],
};

/** Gathers what each part has counted. */
function countersOf(parts: Counted): ReadCounters {
  const { l1, reads, pendingReads, coherence, lookup, l2, l3, replicas, existence, filter, tails } = parts;
  const { evictions, expirations } = l1.counters;
  const { l2Hits, l2Misses, l3Hits, l3Misses } = lookup.counts;
  return {
    l1: {
      ...reads.counts,
      evictions,
      expirations,
      refusedFills: pendingReads.counts.refusedFills,
      flushes: coherence.flushes,
    },
    l2: { hits: l2Hits, misses: l2Misses, ...l2.counters },
    l3: { hits: l3Hits, misses: l3Misses, ...l3.counters },
    replicas: replicas?.counters ?? NO_REPLICAS,
    filter: {
      absent: pendingReads.counts.absent + existence.absent,
      loads: filter.loads,
      trusted: filter.isTrusted,
      ...filter.size,
    },
    feed: {
      live: feedsAsOne(tails).live,
      entry: tails.reduce((sum, { position }) => sum + position.number, 0),
      entries: tails.map(({ position }) => position.number),
    },
  };
}

/** A digester with the store's key, if this process has it; the store is asked once it has a key. */
function digesterOnce(shards: Shards, key: string | undefined): () => Promise<Digester | undefined> {
  let known: Promise<Digester | undefined> | undefined;
  const learn = async () => {
    const match = await matchMerkleKey((shards.all[0] as Shard).pool, key);
    if (match === 'unknown') known = undefined;
    return match === 'same' ? new Digester(key) : undefined;
  };
  return async () => {
    known ??= learn();
    try {
      return await known;
    } catch (error) {
      known = undefined;
      // A copy in L2 is read also while Postgres is away.
      if (error instanceof TierUnavailableError) return undefined;
      throw error;
    }
  };
}
