import type { Stamp } from '../clock.ts';
import type { Logger } from '../log.ts';
import type { FeedEntry, FeedListener } from '../redis/feed.ts';
import { changeKindAt, type FeedChanges, feedChangesSchema } from '../schema/feed.ts';
import { RANK_DELETED } from '../schema/register-order.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { Floors } from './floors.ts';
import { type Epochs, floorOf, isAbove, type L1Entry, newestOf, type Stamps } from './l1-entry.ts';
import type { OwnWriteView } from './own-writes.ts';
import type { PendingReads } from './pending-reads.ts';

/** Of two contents with one stamp, of which one is deleted, it is that one that won. */
const DELETED = { contentRank: RANK_DELETED };

/** Hears of the same changes in the same order, after L1. */
export interface ChangeListener {
  onChanges(changes: FeedChanges): void;
  onGap(): void;
  onLive?(): void;
  onDown?(): void;
}

/**
 * Keeps L1 behind the change feed of one partition by one delivery at most (I6). What is said here of L1 is true of the ids of
 * that partition.
 *
 * - **live**: the tail sees the feed. L1 is served. A change turns the older entry of its id into a floor and raises the
 *   fence of the pending read of that id. So L1 never keeps a value that was read before the change.
 * - **down**: the tail does not see the feed. L1 is not served. Answers are still kept in L1: when the tail comes back it
 *   replays every change since its cursor before it is live, and each change finds its entry.
 * - A **gap** (trimmed stream, another Redis) means that some changes will never be told. It starts a new epoch. Entries of
 *   earlier epochs are not served, nor are the answers of reads that began in them.
 *
 * A floor stays in L1: whatever a tier answers later must not be older. So a Redis that comes back without its last second
 * of writes is noticed, and L3 is asked instead.
 */
export class Coherence implements FeedListener {
  readonly #l1: MemoryTier<L1Entry>;
  readonly #floors: Floors;
  readonly #pendingReads: PendingReads;
  readonly #ownWrites: OwnWriteView;
  readonly #followers: readonly ChangeListener[];
  readonly #epochs: Epochs;
  readonly #partition: number;
  readonly #log: Logger;
  #flushes = 0;

  constructor(
    l1: MemoryTier<L1Entry>,
    floors: Floors,
    pendingReads: PendingReads,
    ownWrites: OwnWriteView,
    followers: readonly ChangeListener[],
    epochs: Epochs,
    partition: number,
    log: Logger,
  ) {
    this.#l1 = l1;
    this.#floors = floors;
    this.#pendingReads = pendingReads;
    this.#ownWrites = ownWrites;
    this.#followers = followers;
    this.#epochs = epochs;
    this.#partition = partition;
    this.#log = log;
  }

  /** How often all of L1 was dropped. */
  get flushes(): number {
    return this.#flushes;
  }

  onEntry(entry: FeedEntry): void {
    let changes: FeedChanges;
    try {
      changes = feedChangesSchema.parse(JSON.parse(entry.changes));
    } catch (error) {
      this.#log.error({ err: error, entry: entry.id }, 'change feed entry cannot be read; dropping L1');
      this.onGap();
      return;
    }
    const { ids, cv, sv } = changes;
    const ties = new Map(changes.ties?.map(([place, contentRank, state]) => [place, { contentRank, state }]));
    for (let i = 0; i < ids.length; i++) {
      const stamps = { contentVersion: cv[i] as Stamp, stateVersion: sv?.[i] ?? 0 };
      const kind = changeKindAt(changes, i);
      const tie = kind === 'deleted' ? DELETED : ties.get(i);
      this.#apply(ids[i] as string, tie === undefined ? stamps : { ...stamps, ...tie }, kind === 'cacheOnly');
    }
    this.#floors.entryCame();
    for (const follower of this.#followers) follower.onChanges(changes);
  }

  onGap(): void {
    this.#flushes++;
    this.#pendingReads.endEpoch(this.#epochs.next(this.#partition));
    for (const follower of this.#followers) follower.onGap();
  }

  onDown(): void {
    this.#serve(false);
    for (const follower of this.#followers) follower.onDown?.();
  }

  onLive(): void {
    this.#serve(true);
    for (const follower of this.#followers) follower.onLive?.();
  }

  /** A write of this process has settled. It may be in no row: written to L2 only, or refused. */
  ownSettled(id: string, contentVersion: Stamp, stateVersion: Stamp): void {
    this.#floors.ownSettled(id, { contentVersion, stateVersion });
    this.#apply(id, { contentVersion, stateVersion }, true);
  }

  #serve(isServed: boolean): void {
    this.#epochs.at(this.#partition).isServed = isServed;
  }

  /** @param noRow the change may be in no row, so its stamps must not become a floor: every read would look for such a row in vain */
  #apply(id: string, change: Stamps, noRow: boolean): void {
    this.#pendingReads.raiseFence(id, change);
    if (!noRow) {
      this.#floors.announced(id, change);
      this.#ownWrites.announced(id, change);
    }
    const entry = this.#l1.peek(id);
    if (entry === undefined || !isAbove(change, entry)) return;
    this.#l1.set(id, floorOf(noRow ? newestOf(entry, undefined) : newestOf(change, entry)), 0);
  }

  /** L1 serves nothing from now on. The other listeners still hear of changes, because the back-fill writes until it is closed. */
  close(): void {
    this.#serve(false);
    this.#floors.close();
    this.#l1.clear();
  }
}

/** The coherence of all lanes, one a partition, each with its own feed. */
export class LaneCoherence {
  readonly #lanes: readonly Coherence[];

  constructor(lanes: readonly Coherence[]) {
    this.#lanes = lanes;
  }

  /** How often all of L1 was dropped for the ids of a partition. */
  get flushes(): number {
    return this.#lanes.reduce((sum, { flushes }) => sum + flushes, 0);
  }

  /** A write of this process has settled. What is noted of it is shared by all lanes. */
  ownSettled(id: string, contentVersion: Stamp, stateVersion: Stamp): void {
    this.#lanes[0]?.ownSettled(id, contentVersion, stateVersion);
  }

  close(): void {
    for (const lane of this.#lanes) lane.close();
  }
}
