import { type Pool, readL3 } from '../postgres/pool.ts';
import { countRows, selectIds, type Selection, selectRows } from '../postgres/read-items.ts';
import { parsePrefix, parseState } from '../schema/item.ts';
import type { pageOptionsOf, scanOptionsOf } from '../schema/options.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { Item, Page, Scan } from '../types.ts';
import type { CallGate } from '../call-gate.ts';
import { cursorAfter, type HeldPage, idOfCursor, PagedScan } from './paging.ts';
import type { Observed } from './observed.ts';

const SCAN_PAGE = 1000;

type PageRead = ReturnType<typeof pageOptionsOf>;
type ScanRead = ReturnType<typeof scanOptionsOf>;

interface ReadPage {
  readonly rows: readonly StoredItem[];
  readonly page: Page<Item>;
}

/** Reads of many items by what they have in common. Postgres answers; see `Observed` for how they agree with other reads. */
export class Queries {
  readonly #pool: Pool;
  readonly #observed: Observed;
  readonly #gate: CallGate;
  readonly #timeoutMs: number;

  /** @param timeoutMs milliseconds one page may take. A count reads every row it counts and has no limit. */
  constructor(pool: Pool, observed: Observed, timeoutMs: number, gate: CallGate) {
    this.#gate = gate;
    this.#timeoutMs = timeoutMs;
    this.#pool = pool;
    this.#observed = observed;
  }

  page(selection: Selection, { limit, after, signal }: PageRead): Promise<Page<Item>> {
    return this.#page(selection, after, limit, signal, ({ page }) => page);
  }

  scan(selection: Selection, { after, signal }: ScanRead): Scan<Item> {
    idOfCursor(selection, after);
    return new PagedScan(
      after,
      (from) => this.#page(selection, from, SCAN_PAGE, signal, (read) => this.#heldPage(selection, read)),
      (item) => cursorAfter(selection, item.id),
    );
  }

  async ids(selection: Selection, { limit, after, signal }: PageRead): Promise<Page<string>> {
    const from = idOfCursor(selection, after);
    const { rows, more } = await this.#ask(
      () => selectIds(this.#pool, selection, from, limit, this.#timeoutMs),
      signal,
    );
    const last = rows.at(-1);
    return more && last !== undefined ? { items: rows, next: cursorAfter(selection, last) } : { items: rows };
  }

  count(selection: Selection): Promise<number> {
    return readL3(() => countRows(this.#pool, selection));
  }

  /** @param use makes the answer, in the moment in which the rows are known to be current. */
  async #page<T>(
    selection: Selection,
    after: string | undefined,
    limit: number,
    signal: AbortSignal | undefined,
    use: (read: ReadPage) => T,
  ): Promise<T> {
    const from = idOfCursor(selection, after);
    const endReading = this.#observed.beginReading();
    try {
      const { rows, more } = await this.#ask(
        () => selectRows(this.#pool, selection, from, limit, this.#timeoutMs),
        signal,
      );
      const now = await this.#gate.run(signal, () => this.#observed.reconcile(rows));
      const items = now.filter((item) => item !== undefined && isSelected(item, selection)) as Item[];
      const last = rows.at(-1);
      const page = more && last !== undefined ? { items, next: cursorAfter(selection, last.id) } : { items };
      return use({ rows, page });
    } finally {
      endReading();
    }
  }

  #heldPage(selection: Selection, { rows, page }: ReadPage): HeldPage<Item> {
    const watch = this.#observed.watch(rows);
    return {
      ...page,
      refresh: async (item) => {
        const current = await this.#observed.refresh(item, watch);
        return current !== undefined && isSelected(current, selection) ? current : undefined;
      },
      release: () => watch.end(),
    };
  }

  #ask<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.#gate.run(signal, () => readL3(work));
  }
}

function isSelected(item: Item, selection: Selection): boolean {
  return selection.by !== 'state' || item.state === selection.key;
}

export function ofState(state: string): Selection {
  return { by: 'state', key: parseState(state) };
}

export function ofPrefix(prefix: string): Selection {
  return { by: 'prefix', key: prefix === '' ? prefix : parsePrefix(prefix) };
}
