import { toItem } from '../schema/live-item.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { Item } from '../types.ts';
import type { Floors, PageWatch } from './floors.ts';
import { isBelow, isNewer, type L1Entry } from './l1-entry.ts';
import type { OwnWriteView } from './own-writes.ts';

/**
 * Makes rows that a query read from Postgres agree with what this process has given out, and is going to (I6). Postgres
 * has a write before L2 and the feed do, so a query can be ahead of `get`, and one that took long can be behind it.
 */
export class Observed {
  readonly #l1: MemoryTier<L1Entry>;
  readonly #floors: Floors;
  readonly #pending: OwnWriteView;
  readonly #getMany: (ids: readonly string[]) => Promise<(Item | undefined)[]>;

  constructor(
    l1: MemoryTier<L1Entry>,
    floors: Floors,
    pending: OwnWriteView,
    getMany: (ids: readonly string[]) => Promise<(Item | undefined)[]>,
  ) {
    this.#l1 = l1;
    this.#floors = floors;
    this.#pending = pending;
    this.#getMany = getMany;
  }

  /** Call it before the query is sent, and the returned function once its rows are reconciled, or when it failed. */
  beginReading(): () => void {
    return this.#floors.beginReading();
  }

  /** The items of live rows, in their order; undefined where the id is known to be gone by now. */
  async reconcile(rows: readonly StoredItem[]): Promise<(Item | undefined)[]> {
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
    return rows.map((row) => (behind.has(row.id) ? behind.get(row.id) : this.#itemOf(row)));
  }

  /** Watches the rows of a page while they wait for their turn in a scan. Call it before the reading ends. */
  watch(rows: readonly StoredItem[]): PageWatch {
    return this.#floors.watch(new Map(rows.map((row) => [row.id, row])));
  }

  /** An item of a watched page, as it is to be given out now; undefined when it is gone. */
  async refresh(item: Item, watch: PageWatch): Promise<Item | undefined> {
    const { id } = item;
    const isCurrent =
      !watch.isOutdated(id) &&
      !watch.isBelow(id, this.#floors.of(id)) &&
      !watch.isBelow(id, this.#pending.get(id));
    return isCurrent ? item : (await this.#getMany([id]))[0];
  }

  #isBehind(row: StoredItem): boolean {
    const floor = this.#floors.of(row.id);
    const own = this.#pending.get(row.id);
    return (own !== undefined && isNewer(own, row)) || (floor !== undefined && isBelow(row, floor));
  }

  #itemOf(row: StoredItem): Item {
    const known = this.#l1.peek(row.id);
    if (known?.item !== undefined && !isNewer(row, known)) return known.item;
    this.#floors.given(row.id, row);
    return toItem(row);
  }
}
