import type { Stamp } from '../clock.ts';
import { toItem } from '../schema/live-item.ts';
import { type StoredItem, versionOf } from '../schema/stored-item.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { Item } from '../types.ts';
import { floorOf, type Held, isBelow } from './held.ts';
import { isNewer, type PendingView } from './pending-view.ts';

/**
 * Makes rows that a query read from Postgres agree with what this process has given out, and is going to (I6). Postgres
 * has a write before L2 and the feed do, so a query can be ahead of `get`, and one that took long can be behind it.
 */
export class Observed {
  readonly #l1: MemoryTier<Held>;
  readonly #pending: PendingView;
  readonly #getMany: (ids: readonly string[]) => Promise<(Item | undefined)[]>;

  constructor(
    l1: MemoryTier<Held>,
    pending: PendingView,
    getMany: (ids: readonly string[]) => Promise<(Item | undefined)[]>,
  ) {
    this.#l1 = l1;
    this.#pending = pending;
    this.#getMany = getMany;
  }

  /**
   * The items of live rows, in their order; undefined where the id is known to be gone by now.
   * @param settledBelow rows older than this have settled: every tier has them, so no later read can be older.
   */
  async reconcile(rows: readonly StoredItem[], settledBelow: Stamp): Promise<(Item | undefined)[]> {
    const behind = new Map<string, Item | undefined>();
    for (;;) {
      const asked = behind.size;
      for (const row of rows) if (!behind.has(row.id) && this.#isBehind(row)) behind.set(row.id, undefined);
      // The rest may fall behind while these are read, so they are looked at again.
      if (behind.size === asked) break;
      const ids = [...behind.keys()];
      const current = await this.#getMany(ids);
      ids.forEach((id, i) => behind.set(id, current[i]));
    }
    return rows.map((row) => (behind.has(row.id) ? behind.get(row.id) : this.#itemOf(row, settledBelow)));
  }

  /** An item of a page that was reconciled some time ago, as it is to be given out now; undefined when it is gone. */
  async refresh(item: Item): Promise<Item | undefined> {
    const known = this.#l1.peek(item.id);
    const own = this.#pending.get(item.id);
    const newest = Math.max(
      known === undefined ? 0 : versionOf(known),
      own === undefined ? 0 : versionOf(own),
    );
    return newest > item.version ? (await this.#getMany([item.id]))[0] : item;
  }

  #isBehind(row: StoredItem): boolean {
    const known = this.#l1.peek(row.id);
    const own = this.#pending.get(row.id);
    return (own !== undefined && isNewer(own, row)) || (known !== undefined && isBelow(row, known));
  }

  #itemOf(row: StoredItem, settledBelow: Stamp): Item {
    const known = this.#l1.peek(row.id);
    if (known?.item !== undefined && !isNewer(row, known)) return known.item;
    // The floor keeps a later read from answering out of an L2 that does not have this write yet.
    if (known === undefined ? versionOf(row) >= settledBelow : isNewer(row, known)) {
      this.#l1.set(row.id, floorOf(row.contentVersion, row.stateVersion), 0);
    }
    return toItem(row);
  }
}
