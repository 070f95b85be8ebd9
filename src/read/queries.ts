import type { CallGate } from '../call-gate.ts';
import { countAll, selectAll, selectAllIds } from '../postgres/all-items.ts';
import type { Selection } from '../postgres/read-items.ts';
import type { Shards } from '../postgres/shards.ts';
import { toItem } from '../schema/live-item.ts';
import type { pageOptionsOf, scanOptionsOf } from '../schema/options.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { Page } from '../types/call.ts';
import type { Item, Scan } from '../types/read.ts';
import type { Floors, PageWatch } from './floors.ts';
import { isBelow, isNewer, type L1Entry } from './l1-entry.ts';
import type { OwnWriteView } from './own-writes.ts';
import { cursorAfter, type HeldPage, idOfCursor, PagedScan } from './paging.ts';

const SCAN_PAGE = 1000;

type PageRead = ReturnType<typeof pageOptionsOf>;
type ScanRead = ReturnType<typeof scanOptionsOf>;

interface ReadPage {
  readonly rows: readonly StoredItem[];
  readonly page: Page<Item>;
}

/** Reads of many items by their state or prefix. Postgres answers; `RowReconciler` makes its rows agree with other reads. */
export class Queries {
  readonly #shards: Shards;
  readonly #reconciler: RowReconciler;
  readonly #gate: CallGate;
  readonly #timeoutMs: number;

  /** @param timeoutMs milliseconds one page may take. A count reads every row it counts and has no limit. */
  constructor(shards: Shards, reconciler: RowReconciler, timeoutMs: number, gate: CallGate) {
    this.#gate = gate;
    this.#timeoutMs = timeoutMs;
    this.#shards = shards;
    this.#reconciler = reconciler;
  }

  async page(selection: Selection, { limit, after, signal }: PageRead): Promise<Page<Item>> {
    const endReading = this.#reconciler.beginReading();
    try {
      return (await this.#read(selection, after, limit, signal)).page;
    } finally {
      endReading();
    }
  }

  scan(selection: Selection, { after, signal }: ScanRead): Scan<Item> {
    idOfCursor(selection, after);
    return new PagedScan(
      after,
      (from) => this.#heldPage(selection, from, signal),
      (item) => cursorAfter(selection, item.id),
    );
  }

  async ids(selection: Selection, { limit, after, signal }: PageRead): Promise<Page<string>> {
    const from = idOfCursor(selection, after);
    const { rows, more } = await this.#ask(
      () => selectAllIds(this.#shards, selection, from, limit, this.#timeoutMs),
      signal,
    );
    const last = rows.at(-1);
    return more && last !== undefined ? { items: rows, next: cursorAfter(selection, last) } : { items: rows };
  }

  count(selection: Selection): Promise<number> {
    return countAll(this.#shards, selection);
  }

  async #heldPage(
    selection: Selection,
    after: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<HeldPage<Item>> {
    const endReading = this.#reconciler.beginReading();
    try {
      const { rows, page } = await this.#read(selection, after, SCAN_PAGE, signal);
      const watch = this.#reconciler.watch(rows);
      return {
        ...page,
        refresh: async (item) => {
          const current = await this.#reconciler.refresh(item, watch);
          return current !== undefined && selection.stillHolds(current) ? current : undefined;
        },
        release: () => watch.end(),
      };
    } finally {
      endReading();
    }
  }

  /** Call it within a reading of the reconciler. */
  async #read(
    selection: Selection,
    after: string | undefined,
    limit: number,
    signal: AbortSignal | undefined,
  ): Promise<ReadPage> {
    const from = idOfCursor(selection, after);
    const { rows, more } = await this.#ask(
      () => selectAll(this.#shards, selection, from, limit, this.#timeoutMs),
      signal,
    );
    const now = await this.#gate.run(signal, () => this.#reconciler.reconcile(rows));
    const items = now.filter((item) => item !== undefined && selection.stillHolds(item)) as Item[];
    const last = rows.at(-1);
    return {
      rows,
      page: more && last !== undefined ? { items, next: cursorAfter(selection, last.id) } : { items },
    };
  }

  #ask<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.#gate.run(signal, work);
  }
}

/**
 * Makes the rows of a query agree with the other reads of this process (I6). Postgres has a write before L2 and the feed
 * have it, so a query can be ahead of `get`. A query that took long can be behind it.
 */
export class RowReconciler {
  readonly #l1: MemoryTier<L1Entry>;
  readonly #floors: Floors;
  readonly #ownWrites: OwnWriteView;
  readonly #getMany: (ids: readonly string[]) => Promise<(Item | undefined)[]>;

  constructor(
    l1: MemoryTier<L1Entry>,
    floors: Floors,
    ownWrites: OwnWriteView,
    getMany: (ids: readonly string[]) => Promise<(Item | undefined)[]>,
  ) {
    this.#l1 = l1;
    this.#floors = floors;
    this.#ownWrites = ownWrites;
    this.#getMany = getMany;
  }

  /** Call it before the query is sent, and the returned function once its rows are reconciled, or when it failed. */
  beginReading(): () => void {
    return this.#floors.beginReading();
  }

  /** The items of live rows, in their order; undefined where the id is known to be deleted by now. */
  async reconcile(rows: readonly StoredItem[]): Promise<(Item | undefined)[]> {
    const behind = new Map<string, Item | undefined>();
    for (;;) {
      const asked = behind.size;
      for (const row of rows) if (!behind.has(row.id) && this.#isBehind(row)) behind.set(row.id, undefined);
      // While these are read, others may fall behind: look at all of them again.
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

  /** The current version of an item of a watched page; undefined when it is gone. */
  async refresh(item: Item, watch: PageWatch): Promise<Item | undefined> {
    const { id } = item;
    const isCurrent =
      !watch.isOutdated(id) &&
      !watch.isBelow(id, this.#floors.of(id)) &&
      !watch.isBelow(id, this.#ownWrites.get(id));
    return isCurrent ? item : (await this.#getMany([id]))[0];
  }

  #isBehind(row: StoredItem): boolean {
    const floor = this.#floors.of(row.id);
    const own = this.#ownWrites.get(row.id);
    return (own !== undefined && isNewer(own, row)) || (floor !== undefined && isBelow(row, floor));
  }

  #itemOf(row: StoredItem): Item {
    const known = this.#l1.peek(row.id);
    if (known?.item !== undefined && !isNewer(row, known)) return known.item;
    this.#floors.given(row.id, row);
    return toItem(row);
  }
}
