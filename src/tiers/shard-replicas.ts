import type { Lanes } from '../lanes.ts';
import type { Shard, Shards } from '../postgres/shards.ts';
import type { FeedChanges } from '../schema/feed.ts';
import type { StoredHead, StoredItem } from '../schema/stored-item.ts';
import type { ReadCounters } from '../types/read.ts';
import type { ReplicaServer } from './replica-server.ts';

/** Undefined: no replica has a current answer, ask the primary. `row` is undefined when there is none. */
export type ReplicaAnswer<T> = { readonly row: T | undefined } | undefined;

/** Hears of one feed. */
export interface ReplicaFollower {
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
export class ShardReplicas implements Replicas {
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
