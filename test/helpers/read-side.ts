import { CallGate } from '../../src/call-gate.ts';
import { Coherence } from '../../src/read/coherence.ts';
import { ExistenceCheck } from '../../src/read/existence.ts';
import { Floors } from '../../src/read/floors.ts';
import { ItemReads } from '../../src/read/item-reads.ts';
import { Epochs, type L1Entry } from '../../src/read/l1-entry.ts';
import { settledQuestion } from '../../src/read/lane-settled.ts';
import { NO_OWN_WRITES } from '../../src/read/own-writes.ts';
import { PendingReads } from '../../src/read/pending-reads.ts';
import { TierLookup } from '../../src/read/tier-lookup.ts';
import { TrustedFilter } from '../../src/read/trusted-filter.ts';
import { FeedTail } from '../../src/redis/feed.ts';
import type { StoredItem } from '../../src/schema/stored-item.ts';
import { CopyTier } from '../../src/tiers/copy-tier.ts';
import { FilterSource } from '../../src/tiers/filter-source.ts';
import { MemoryTier } from '../../src/tiers/memory.ts';
import { PostgresTier } from '../../src/tiers/postgres.ts';
import { openReplicas, type Replicas } from '../../src/tiers/replicas.ts';
import type { Deployment } from './deployment.ts';

/** While it is shut, answers are held back after the tier has given them: what happens meanwhile comes too late for them. */
export class Gate {
  #opened: Promise<void> = Promise.resolve();
  #open: () => void = () => undefined;
  #arrived: () => void = () => undefined;
  #id: string | undefined;

  /**
   * Resolves when the first answer is held back.
   * @param id only the answers to requests for this id, among others, are held back
   */
  shut(id?: string): Promise<void> {
    this.#id = id;
    this.#opened = new Promise((resolve) => {
      this.#open = resolve;
    });
    return new Promise((resolve) => {
      this.#arrived = resolve;
    });
  }

  open(): void {
    this.#open();
  }

  async pass<T>(ids: readonly string[], answer: T): Promise<T> {
    if (this.#id !== undefined && !ids.includes(this.#id)) return answer;
    this.#arrived();
    await this.#opened;
    return answer;
  }
}

class GatedCopyTier extends CopyTier {
  readonly gate = new Gate();

  override async getMany(ids: readonly string[]): Promise<(StoredItem | undefined)[]> {
    return this.gate.pass(ids, await super.getMany(ids));
  }
}

class GatedPostgresTier extends PostgresTier {
  readonly gate = new Gate();

  override async getMany(ids: readonly string[]): Promise<(StoredItem | undefined)[]> {
    return this.gate.pass(ids, await super.getMany(ids));
  }
}

/** The parts of a reader with gates behind its tiers. */
export interface ReadSide {
  readonly l1: MemoryTier<L1Entry>;
  readonly floors: Floors;
  readonly l2: GatedCopyTier;
  readonly l3: GatedPostgresTier;
  /** Those of `config`. */
  readonly replicas: Replicas | undefined;
  readonly tail: FeedTail;
  readonly coherence: Coherence;
  readonly filter: TrustedFilter;
  readonly source: FilterSource;
  readonly existence: ExistenceCheck;
  readonly reads: ItemReads;
  close(): Promise<void>;
}

/** @param feedUrl where the tail connects, when not as everything else. */
export async function openReadSide(
  { config, keys, lanes, log, redis, items, shards }: Deployment,
  feedUrl = config.redisUrl,
): Promise<ReadSide> {
  const timeoutMs = config.l2TimeoutMs;
  const tail = new FeedTail(feedUrl, keys, log);
  const l1 = new MemoryTier<L1Entry>({ maxBytes: config.l1MaxBytes, ttlMs: config.l1TtlMs });
  const l2 = new GatedCopyTier(items, { ...config, timeoutMs }, log);
  const l3 = new GatedPostgresTier(shards, lanes, config.l3TimeoutMs);
  const replicas = openReplicas({ shards, queue: redis, lanes, tails: [tail] }, config, log);
  const source = new FilterSource(shards, redis, lanes, 0, log);
  const filterOptions = { maxBytes: config.filterMaxBytes, timeoutMs };
  const filter = new TrustedFilter(source, tail, redis, keys, filterOptions, log);
  const floors = new Floors(l1, settledQuestion(redis, lanes, timeoutMs), log);
  const epochs = new Epochs(lanes);
  const lookup = new TierLookup(l2, l3, filter, config, log, replicas);
  const pendingReads = new PendingReads(l1, floors, lookup, epochs);
  const listeners = [filter, l2, ...(replicas?.listeners(1) ?? [])];
  const coherence = new Coherence(l1, floors, pendingReads, NO_OWN_WRITES, listeners, epochs, 0, log);
  tail.listen(coherence);
  await tail.start(20_000);
  return {
    l1,
    floors,
    l2,
    l3,
    replicas,
    tail,
    coherence,
    filter,
    source,
    existence: new ExistenceCheck(floors, l2, l3, filter, config, replicas),
    reads: new ItemReads(l1, floors, pendingReads, NO_OWN_WRITES, new CallGate('reader')),
    async close() {
      coherence.close();
      filter.close();
      await replicas?.close();
      await tail.close();
    },
  };
}
