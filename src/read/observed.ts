import type { Stamp } from '../clock.ts';
import { type StoredItem, toItem, versionOf } from '../schema/stored-item.ts';
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
    const behind: number[] = [];
    const items = rows.map((row, i) => {
      const known = this.#l1.peek(row.id);
      const own = this.#pending.get(row.id);
      if ((own !== undefined && isNewer(own, row)) || (known !== undefined && isBelow(row, known))) {
        behind.push(i);
        return undefined;
      }
      if (known?.item !== undefined && !isNewer(row, known)) return known.item;
      // The floor keeps a later read from answering out of an L2 that does not have this write yet.
      if (known === undefined ? versionOf(row) >= settledBelow : isNewer(row, known)) {
        this.#l1.set(row.id, floorOf(row.contentVersion, row.stateVersion), 0);
      }
      return toItem(row);
    });
    if (behind.length === 0) return items;
    const current = await this.#getMany(behind.map((i) => (rows[i] as StoredItem).id));
    behind.forEach((at, i) => {
      items[at] = current[i];
    });
    return items;
  }
}
