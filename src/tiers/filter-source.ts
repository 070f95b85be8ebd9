import { decodeFilter, encodeFilter, FilterCorruptError } from '../filter/codec.ts';
import { MembershipFilter } from '../filter/membership.ts';
import type { Keys } from '../keys.ts';
import { type HashRange, hashRangeOf, type Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import { readSnapshot, writeSnapshot } from '../postgres/filter-snapshots.ts';
import type { PartitionRows, Shards } from '../postgres/shards.ts';
import { liveIdsAfter } from '../postgres/read-items.ts';
import { estimatedRows } from '../postgres/totals.ts';
import type { Redis } from '../redis/client.ts';
import { feedAfter, feedHead, feedHolds } from '../redis/feed.ts';
import { changeKindAt, type FeedChanges, type FeedPosition, feedChangesSchema } from '../schema/feed.ts';

/** Room to grow: a full filter needs a second table that is twice as large. */
const HEADROOM = 1.2;
const PAGE_IDS = 10_000;
const PAGE_ENTRIES = 64;

export interface FilterAt {
  readonly filter: MembershipFilter;
  /** The filter holds every id that was live at this place of the feed. */
  readonly position: FeedPosition;
}

/** Builds membership filters of the live ids of one partition: from a stored snapshot and the feed since, or from the rows. */
export class FilterSource {
  readonly #rows: PartitionRows;
  readonly #partitions: number;
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #partition: number;
  readonly #hashes: HashRange;
  readonly #log: Logger;

  constructor(shards: Shards, redis: Redis, lanes: Lanes, partition: number, log: Logger) {
    this.#rows = shards.rowsOf(partition);
    this.#partitions = lanes.count;
    this.#redis = redis;
    this.#keys = lanes.keys[partition] as Keys;
    this.#partition = partition;
    this.#hashes = hashRangeOf(partition, lanes.count);
    this.#log = log;
  }

  /** The stored snapshot as it is; undefined when there is none that can be used. */
  async snapshot(): Promise<FilterAt | undefined> {
    const stored = await this.#rows.read((db) => readSnapshot(db, this.#partition));
    if (stored === undefined) return undefined;
    try {
      const filter = decodeFilter(stored.filter);
      // With too many dead ids it is better to read the live ones again.
      return filter.needsRebuild ? undefined : { filter, position: stored.position };
    } catch (error) {
      if (!(error instanceof FilterCorruptError)) throw error;
      this.#log.warn({ err: error }, 'stored filter snapshot cannot be used');
      return undefined;
    }
  }

  /** Adds what has settled since `from`. Returns the new place; undefined when the feed no longer reaches back to `from`. */
  async catchUp(filter: MembershipFilter, from: FeedPosition): Promise<FeedPosition | undefined> {
    let { id, number } = from;
    for (;;) {
      const entries = await feedAfter(this.#redis, this.#keys, id, PAGE_ENTRIES);
      for (const entry of entries) {
        if (entry.number !== number + 1) return undefined;
        applyChanges(filter, feedChangesSchema.parse(JSON.parse(entry.changes)));
        ({ id, number } = entry);
      }
      if (entries.length > 0) continue;
      const head = await feedHead(this.#redis, this.#keys);
      // Fewer entries, or another epoch: `from` is a place in the feed of another Redis.
      if (head.epoch !== from.epoch || head.number < number) return undefined;
      if (head.number === number) {
        // A Redis that failed over numbers other entries like those that it lost.
        const isKnown = await feedHolds(this.#redis, this.#keys, from);
        return isKnown ? { epoch: from.epoch, number, id } : undefined;
      }
      // Later entries were written and have been trimmed.
      if (head.empty || head.id === id) return undefined;
    }
  }

  /**
   * An empty filter with room for the rows there are, and the place from which changes must be added to it.
   * @param previous what it is to replace. Postgres's estimate of a table that is being filled is far too low until the table is analysed:
   * a filter of that size would have to be replaced at once, and again.
   */
  async begin(previous?: MembershipFilter): Promise<FilterAt> {
    const position = await feedHead(this.#redis, this.#keys);
    const estimate = (await this.#rows.read(estimatedRows)) / (this.#rows.neighbours ?? this.#partitions);
    const live = previous === undefined ? 0 : previous.count - previous.dead;
    const rows = Math.max(estimate, live);
    return { filter: MembershipFilter.withCapacity(Math.max(1000, rows * HEADROOM)), position };
  }

  /**
   * Adds every live id, a page a statement. No snapshot is needed: an id that was live when this began is found unless it was deleted
   * since, and one that came since is told by the feed.
   * @param goOn asked before each page; false ends it.
   * @returns whether all were added.
   */
  async addLiveIds(filter: MembershipFilter, goOn: () => boolean): Promise<boolean> {
    for (let after = ''; goOn(); ) {
      const ids = await this.#rows.read((db) => liveIdsAfter(db, after, PAGE_IDS, this.#hashes));
      for (const id of ids) filter.add(id);
      const last = ids[ids.length - 1];
      if (last === undefined || ids.length < PAGE_IDS) return true;
      after = last;
    }
    return false;
  }

  /** Stores a filter for readers that start. */
  store({ filter, position }: FilterAt): Promise<void> {
    return this.#rows.write((db) =>
      writeSnapshot(db, this.#partition, position, filter.count, encodeFilter(filter)),
    );
  }

  /** The maintenance chore: the stored snapshot brought up to date, or a new one from the rows. */
  async refresh(maxBytes: number): Promise<void> {
    const stored = await this.snapshot();
    const position = stored && (await this.catchUp(stored.filter, stored.position));
    if (stored !== undefined && position !== undefined && !stored.filter.needsRebuild) {
      await this.store({ filter: stored.filter, position });
      return;
    }
    const fresh = await this.begin();
    const complete = await this.addLiveIds(fresh.filter, () => fresh.filter.byteLength <= maxBytes);
    if (complete) await this.store(fresh);
    else this.#log.warn({ maxBytes }, 'membership filter would be too large; no snapshot stored');
  }
}

/** Adds settled changes to a filter. An id that lives in L2 only is added too, because reads find it. */
export function applyChanges(filter: MembershipFilter, changes: FeedChanges): void {
  for (const [i, id] of changes.ids.entries()) {
    if (changeKindAt(changes, i) !== 'deleted') filter.add(id);
    else if (filter.has(id)) filter.noteDead();
  }
}
