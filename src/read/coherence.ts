import type { Stamp } from '../clock.ts';
import type { Logger } from '../log.ts';
import type { FeedEntry, FeedListener } from '../redis/feed.ts';
import { changeKindAt, type FeedChanges, feedChangesSchema } from '../schema/feed.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { Floors } from './floors.ts';
import { floorOf, type L1Entry } from './l1-entry.ts';
import type { OwnWriteView } from './own-writes.ts';
import type { PendingReads } from './pending-reads.ts';

/** Serves no entry: neither an epoch nor `NEVER`. */
const DOWN = -2;

/** Learns of the same changes, in the same order. */
export interface ChangeListener {
  onChanges(changes: FeedChanges): void;
  onGap(): void;
  onLive?(): void;
  onDown?(): void;
}

/**
 * Keeps L1 behind the change feed by one delivery at most (I6).
 *
 * - **live**: the tail sees the feed. L1 is served. A change takes the older entry of its id out of service and raises the
 *   fence of the read that is pending for it, so a value read before the change is never kept after it.
 * - **down**: the tail does not see the feed. L1 is bypassed. It still takes what is read, because on return the tail
 *   replays every change since its cursor before it is live again, and each finds its entry.
 * - A **gap** (trimmed stream, another Redis) means changes that will never be told. It starts a new epoch: every entry, and
 *   every read that began before, belongs to the old one and is not served. The range deletes of a deployment are
 *   meant to do the same.
 *
 * Entries taken out of service stay as floors: whatever a tier answers later must not be older. A Redis that comes back
 * without its last second of writes is found out by that, and L3 asked instead.
 */
export class Coherence implements FeedListener {
  readonly #l1: MemoryTier<L1Entry>;
  readonly #floors: Floors;
  readonly #reads: PendingReads;
  readonly #ownWrites: OwnWriteView;
  readonly #others: readonly ChangeListener[];
  readonly #log: Logger;
  #epoch = 0;
  #live = false;
  #flushes = 0;
  /** L1 entries of this epoch may be given out. A plain field: every hit compares it. */
  serving = DOWN;

  constructor(
    l1: MemoryTier<L1Entry>,
    floors: Floors,
    reads: PendingReads,
    ownWrites: OwnWriteView,
    others: readonly ChangeListener[],
    log: Logger,
  ) {
    this.#l1 = l1;
    this.#floors = floors;
    this.#reads = reads;
    this.#ownWrites = ownWrites;
    this.#others = others;
    this.#log = log;
    // A read may have read L2 before that version was there.
    floors.listen((id, { contentVersion, stateVersion }) =>
      reads.raiseFence(id, contentVersion, stateVersion),
    );
  }

  /** How often all of L1 was taken out of service. */
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
    for (let i = 0; i < ids.length; i++) {
      this.#apply(ids[i] as string, cv[i] as Stamp, sv?.[i] ?? 0, changeKindAt(changes, i) === 'cacheOnly');
    }
    this.#floors.entryCame();
    for (const other of this.#others) other.onChanges(changes);
  }

  onGap(): void {
    this.#epoch++;
    this.#flushes++;
    this.#reads.startEpoch(this.#epoch);
    if (this.#live) this.serving = this.#epoch;
    for (const other of this.#others) other.onGap();
  }

  onDown(): void {
    this.#live = false;
    this.serving = DOWN;
    for (const other of this.#others) other.onDown?.();
  }

  onLive(): void {
    this.#live = true;
    this.serving = this.#epoch;
    for (const other of this.#others) other.onLive?.();
  }

  /** A write of this process has settled, perhaps as one that is in no row: in L2 only, or refused. */
  ownSettled(id: string, contentVersion: Stamp, stateVersion: Stamp): void {
    this.#floors.ownSettled(id, { contentVersion, stateVersion });
    this.#apply(id, contentVersion, stateVersion, true);
  }

  /** @param noRow the change may be in no row: it must not outlive its copy as a floor. */
  #apply(id: string, contentVersion: Stamp, stateVersion: Stamp, noRow: boolean): void {
    this.#reads.raiseFence(id, contentVersion, stateVersion);
    if (!noRow) {
      this.#floors.announced(id, contentVersion, stateVersion);
      this.#ownWrites.announced(id, contentVersion, stateVersion);
    }
    const entry = this.#l1.peek(id);
    if (entry === undefined || (contentVersion <= entry.contentVersion && stateVersion <= entry.stateVersion))
      return;
    const floor = noRow
      ? floorOf(entry.contentVersion, entry.stateVersion)
      : floorOf(Math.max(contentVersion, entry.contentVersion), Math.max(stateVersion, entry.stateVersion));
    this.#l1.set(id, floor, 0);
  }

  /** Serves nothing any more. The others go on hearing of changes: what waits to be filled in is still written. */
  close(): void {
    this.#live = false;
    this.serving = DOWN;
    this.#floors.close();
    this.#l1.clear();
  }
}
