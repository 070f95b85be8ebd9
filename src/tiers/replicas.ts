import { within } from '../abortable.ts';
import type { Config } from '../config.ts';
import type { Keys } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import { type Logger, serverOf } from '../log.ts';
import { closePool, createPool, type Pool } from '../postgres/pool.ts';
import { primaryPlace, readReplicaHeads, readReplicaRows, type ReplicaRows } from '../postgres/replica.ts';
import type { Shard, Shards } from '../postgres/shards.ts';
import type { Redis } from '../redis/client.ts';
import { feedNumber, type FeedTail } from '../redis/feed.ts';
import type { FeedChanges } from '../schema/feed.ts';
import type { StoredHead, StoredItem } from '../schema/stored-item.ts';
import type { ReadCounters } from '../types/read.ts';
import { ReplayNeeds } from './replay-needs.ts';
import { ReplicaServer } from './replica-server.ts';

/** Milliseconds between two looks at every server, which renew what is told of its lag. */
const LOOK_MS = 5000;

/** Share of a read's time that a replica may take; the rest is left for the primary. */
const REPLICA_SHARE = 0.25;

interface ReplicaParts {
  readonly shards: Shards;
  readonly queue: Redis;
  readonly lanes: Lanes;
  /** By partition. */
  readonly tails: readonly Pick<FeedTail, 'hasReached'>[];
}

/** The replicas of the configuration; undefined when it names none. */
export function openReplicas(parts: ReplicaParts, config: Config, log: Logger): Replicas | undefined {
  const { shards, lanes } = parts;
  if (config.replicas.length === 0) return undefined;
  const tiers = shards.all.flatMap((shard) => {
    const tier = replicasOf(shard, parts, config, log);
    return tier === undefined ? [] : ([[shard, tier]] as const);
  });
  return shards.isOne ? tiers[0]?.[1] : new ShardReplicas(shards, lanes, new Map(tiers));
}

function replicasOf(
  { name, pool }: Shard,
  { shards, queue, lanes, tails }: ReplicaParts,
  config: Config,
  log: Logger,
): ReplicaTier | undefined {
  const own = config.replicas.filter(({ shard }) => shards.isOne || shard === name);
  if (own.length === 0) return undefined;
  const timeoutMs = config.l3TimeoutMs * REPLICA_SHARE;
  const needs = new ReplayNeeds(() => primaryPlace(pool, timeoutMs), log);
  const servers = own.map(
    ({ url }) =>
      new ReplicaServer(serverOf(url), createPool(url, config.poolSize, log), needs, timeoutMs, log),
  );
  return new ReplicaTier(servers, needs, async (ids) => {
    try {
      const asked = [...new Set(ids.map((id) => lanes.of(id)))];
      const heads = await within(
        config.l2TimeoutMs,
        Promise.all(asked.map((partition) => feedNumber(queue, lanes.keys[partition] as Keys))),
      );
      return () => heads.every((head, i) => tails[asked[i] as number]?.hasReached(head) === true);
    } catch (error) {
      log.debug({ err: error }, 'feed head could not be asked for; no replica answers');
      return () => false;
    }
  });
}

/** Milliseconds that the primary may take for a read by ids. */
export function primaryTimeoutMs({
  replicas,
  l3TimeoutMs,
}: Pick<Config, 'replicas' | 'l3TimeoutMs'>): number {
  return replicas.length === 0 ? l3TimeoutMs : l3TimeoutMs * (1 - REPLICA_SHARE);
}

/**
 * Asks for the heads of the feeds of these ids. The function says whether every change up to them has been delivered here by
 * now.
 */
type HeadQuestion = (ids: readonly string[]) => Promise<() => boolean>;

/**
 * Read replicas of Postgres, before L3. An answer counts when it shows everything that had settled before the question, and so
 * is as good as the primary's: also an absence. Two things are needed for that.
 *
 * - The tail has delivered every change up to the head of the feed, which is asked for together with the rows. So all that had
 *   settled is among the changes that `ReplayNeeds` knows of.
 * - The replica had replayed what the id needs, before the rows were read.
 *
 * What has not settled may be missing. The caller compares with its floors, as with every answer. The rows must not be written
 * to L2: a newer row may have been committed whose copy L2 has lost again.
 */
class ReplicaTier implements Replicas {
  readonly servers: readonly ReplicaServer[];
  readonly #needs: ReplayNeeds;
  readonly #head: HeadQuestion;
  readonly #looks: NodeJS.Timeout;
  #next = 0;
  readonly #counts = { hits: 0, misses: 0, passedOn: 0 };

  constructor(servers: readonly ReplicaServer[], needs: ReplayNeeds, head: HeadQuestion) {
    this.servers = servers;
    this.#needs = needs;
    this.#head = head;
    this.#looks = setInterval(() => void this.look(), LOOK_MS).unref();
  }

  get counters(): ReadCounters['replicas'] {
    let requests = 0;
    let failures = 0;
    for (const server of this.servers) {
      requests += server.requests;
      failures += server.failures;
    }
    return { ...this.#counts, requests, failures, servers: this.servers.map(({ figures }) => figures) };
  }

  /** In the order of `ids`. Never rejects: what replicas cannot answer is left to the primary. */
  getMany(ids: readonly string[]): Promise<ReplicaAnswer<StoredItem>[]> {
    return this.#ask(ids, readReplicaRows);
  }

  /** The same without the contents. */
  getHeads(ids: readonly string[]): Promise<ReplicaAnswer<StoredHead>[]> {
    return this.#ask(ids, readReplicaHeads);
  }

  /** Asks the primary and every server for their places. */
  async look(): Promise<void> {
    this.#needs.renew(true);
    await Promise.allSettled(this.servers.map((server) => server.look()));
  }

  /** What hears of each of so many feeds. While one is out of sight, no replica is read. */
  listeners(feeds: number): readonly ReplicaFollower[] {
    const live = new Set<number>();
    return Array.from({ length: feeds }, (_, feed) => ({
      onChanges: (changes) => this.onChanges(changes),
      onGap: () => this.onGap(),
      onDown: () => {
        live.delete(feed);
        this.onDown();
      },
      onLive: () => {
        live.add(feed);
        if (live.size === feeds) this.onLive();
      },
    }));
  }

  onChanges(changes: FeedChanges): void {
    this.#needs.onChanges(changes);
  }

  onGap(): void {
    this.#needs.onGap();
  }

  onDown(): void {
    this.#needs.onDown();
  }

  onLive(): void {
    this.#needs.onLive();
  }

  async close(): Promise<void> {
    clearInterval(this.#looks);
    for (const server of this.servers) server.close();
    await Promise.all(this.servers.map(({ pool }) => closePool(pool)));
  }

  async #ask<T extends { readonly id: string }>(
    ids: readonly string[],
    read: (pool: Pool, ids: readonly string[], timeoutMs: number) => Promise<ReplicaRows<T>>,
  ): Promise<ReplicaAnswer<T>[]> {
    this.#needs.renew();
    const asked = new Set(ids.filter((id) => this.#needs.isKnown(id)));
    const server = asked.size === 0 ? undefined : this.#pick();
    if (server === undefined) return this.#passOn(ids);
    const [answer, atHead] = await Promise.all([server.read([...asked], read), this.#head([...asked])]);
    if (answer === undefined || !atHead()) return this.#passOn(ids);
    const { place, rows } = answer;
    const byId = new Map(rows.map((row) => [row.id, row]));
    return ids.map((id) => {
      // What an id needs may have become known meanwhile: one that was not asked for would look absent.
      if (!asked.has(id) || !this.#needs.isCovered(id, place)) {
        this.#counts.passedOn++;
        return undefined;
      }
      const row = byId.get(id);
      this.#counts[row === undefined ? 'misses' : 'hits']++;
      return { row };
    });
  }

  #passOn(ids: readonly string[]): undefined[] {
    this.#counts.passedOn += ids.length;
    return ids.map(() => undefined);
  }

  /** The one with the least to do, in turn when several have as little. */
  #pick(): ReplicaServer | undefined {
    let best: ReplicaServer | undefined;
    for (let i = 0; i < this.servers.length; i++) {
      const server = this.servers[(this.#next + i) % this.servers.length] as ReplicaServer;
      if (server.state === 'used' && (best === undefined || server.underway < best.underway)) best = server;
    }
    this.#next++;
    return best;
  }
}

/** Undefined: no replica has a current answer, ask the primary. `row` is undefined when there is none. */
export type ReplicaAnswer<T> = { readonly row: T | undefined } | undefined;

/** Hears of one feed. */
interface ReplicaFollower {
  onChanges(changes: FeedChanges): void;
  onGap(): void;
  onDown(): void;
  onLive(): void;
}

/** Read replicas, before L3. No method rejects: what they cannot answer is left to the primary. */
export interface Replicas {
  readonly servers: readonly ReplicaServer[];
  readonly counters: ReadCounters['replicas'];
  /** In the order of `ids`. */
  getMany(ids: readonly string[]): Promise<ReplicaAnswer<StoredItem>[]>;
  /** The same without the contents. */
  getHeads(ids: readonly string[]): Promise<ReplicaAnswer<StoredHead>[]>;
  /** What hears of each of so many feeds. */
  listeners(feeds: number): readonly ReplicaFollower[];
  /** Asks the primaries and every server for their places. */
  look(): Promise<void>;
  close(): Promise<void>;
}

/**
 * The replicas of several shards. An id is asked at replicas of the shard that has its partition. A replica does not know in time
 * that a partition has moved on, so the primary's map is looked at after it answered, as for every read.
 */
class ShardReplicas implements Replicas {
  readonly #shards: Shards;
  readonly #lanes: Lanes;
  readonly #tiers: ReadonlyMap<Shard, Replicas>;

  constructor(shards: Shards, lanes: Lanes, tiers: ReadonlyMap<Shard, Replicas>) {
    this.#shards = shards;
    this.#lanes = lanes;
    this.#tiers = tiers;
  }

  get servers(): readonly ReplicaServer[] {
    return this.#all.flatMap(({ servers }) => servers);
  }

  get counters(): ReadCounters['replicas'] {
    const counters = this.#all.map((tier) => tier.counters);
    const sum = (of: 'hits' | 'misses' | 'passedOn' | 'requests' | 'failures') =>
      counters.reduce((total, one) => total + one[of], 0);
    return {
      hits: sum('hits'),
      misses: sum('misses'),
      passedOn: sum('passedOn'),
      requests: sum('requests'),
      failures: sum('failures'),
      servers: counters.flatMap(({ servers }) => servers),
    };
  }

  getMany(ids: readonly string[]): Promise<ReplicaAnswer<StoredItem>[]> {
    return this.#ask(ids, (tier, own) => tier.getMany(own));
  }

  getHeads(ids: readonly string[]): Promise<ReplicaAnswer<StoredHead>[]> {
    return this.#ask(ids, (tier, own) => tier.getHeads(own));
  }

  listeners(feeds: number): readonly ReplicaFollower[] {
    const ofTiers = this.#all.map((tier) => tier.listeners(feeds));
    return Array.from({ length: feeds }, (_, feed) => {
      const each = (tell: (follower: ReplicaFollower) => void) => {
        for (const followers of ofTiers) tell(followers[feed] as ReplicaFollower);
      };
      return {
        onChanges: (changes: FeedChanges) => each((one) => one.onChanges(changes)),
        onGap: () => each((one) => one.onGap()),
        onDown: () => each((one) => one.onDown()),
        onLive: () => each((one) => one.onLive()),
      };
    });
  }

  async look(): Promise<void> {
    await Promise.all(this.#all.map((tier) => tier.look()));
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((tier) => tier.close()));
  }

  get #all(): readonly Replicas[] {
    return [...this.#tiers.values()];
  }

  async #ask<T>(
    ids: readonly string[],
    ask: (tier: Replicas, own: readonly string[]) => Promise<ReplicaAnswer<T>[]>,
  ): Promise<ReplicaAnswer<T>[]> {
    const answers = Array.from<ReplicaAnswer<T>>({ length: ids.length });
    const places = new Map<string, number>(ids.map((id, i) => [id, i]));
    await Promise.all(
      this.#shards.split(this.#lanes, ids).map(async ({ shard, own, partitions }) => {
        const tier = this.#tiers.get(shard);
        if (tier === undefined) return;
        const seen = this.#shards.seen(shard);
        const found = await ask(tier, own);
        const isCurrent = await this.#shards.hadSince(shard, seen, partitions).catch(() => false);
        if (!isCurrent) return;
        own.forEach((id, i) => {
          answers[places.get(id) as number] = found[i];
        });
      }),
    );
    return answers;
  }
}
