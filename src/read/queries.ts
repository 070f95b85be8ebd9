import type { Stamp } from '../clock.ts';
import { type Pool, readL3 } from '../postgres/pool.ts';
import { countRows, type Selection, selectIds, selectRows } from '../postgres/query-items.ts';
import { parsePrefix, parseState } from '../schema/item.ts';
import type { CallOptions, Item, Page, PageOptions, Scan, ScanOptions } from '../types.ts';
import { abortable } from '../abortable.ts';
import { cursorAfter, idOfCursor } from './cursor.ts';
import type { Observed } from './observed.ts';
import { checkLimit, DEFAULT_LIMIT } from './page-limit.ts';
import { PagedScan } from './scan.ts';

const SCAN_PAGE = 1000;

/** Reads of many items by what they have in common. Postgres answers; see `Observed` for how they agree with other reads. */
export class Queries {
  readonly #pool: Pool;
  readonly #observed: Observed;
  readonly #settledBelow: () => Promise<Stamp>;
  readonly #timeoutMs: number;

  /**
   * @param settledBelow a stamp below which all writes have settled; 0 when that cannot be told.
   * @param timeoutMs milliseconds one page may take. A count reads every row it counts and has no limit.
   */
  constructor(pool: Pool, observed: Observed, settledBelow: () => Promise<Stamp>, timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.#pool = pool;
    this.#observed = observed;
    this.#settledBelow = settledBelow;
  }

  async page(
    selection: Selection,
    { limit = DEFAULT_LIMIT, after, signal }: PageOptions = {},
  ): Promise<Page<Item>> {
    checkLimit(limit);
    return this.#page(selection, after, limit, signal);
  }

  scan(selection: Selection, { after, signal }: ScanOptions = {}): Scan<Item> {
    idOfCursor(selection, after);
    return new PagedScan(
      after,
      (from) => this.#page(selection, from, SCAN_PAGE, signal),
      (item) => cursorAfter(selection, item.id),
      async (item) => {
        const current = await this.#observed.refresh(item);
        return current !== undefined && isSelected(current, selection) ? current : undefined;
      },
    );
  }

  async ids(
    selection: Selection,
    { limit = DEFAULT_LIMIT, after, signal }: PageOptions = {},
  ): Promise<Page<string>> {
    checkLimit(limit);
    const from = idOfCursor(selection, after);
    const { rows, more } = await this.#ask(
      () => selectIds(this.#pool, selection, from, limit, this.#timeoutMs),
      signal,
    );
    const last = rows.at(-1);
    return more && last !== undefined ? { items: rows, next: cursorAfter(selection, last) } : { items: rows };
  }

  count(selection: Selection, { signal }: CallOptions = {}): Promise<number> {
    return this.#ask(() => countRows(this.#pool, selection), signal);
  }

  async #page(
    selection: Selection,
    after: string | undefined,
    limit: number,
    signal: AbortSignal | undefined,
  ): Promise<Page<Item>> {
    const from = idOfCursor(selection, after);
    const [{ rows, more }, horizon] = await this.#ask(
      () =>
        Promise.all([selectRows(this.#pool, selection, from, limit, this.#timeoutMs), this.#settledBelow()]),
      signal,
    );
    const now = await abortable(this.#observed.reconcile(rows, horizon), signal);
    const items = now.filter((item) => item !== undefined && isSelected(item, selection)) as Item[];
    const last = rows.at(-1);
    return more && last !== undefined ? { items, next: cursorAfter(selection, last.id) } : { items };
  }

  async #ask<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    signal?.throwIfAborted();
    return abortable(readL3(work), signal);
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
