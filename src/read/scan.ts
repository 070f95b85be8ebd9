import type { Page, Scan } from '../types.ts';

/** A page whose items wait for the caller of a scan. */
export interface HeldPage<T> extends Page<T> {
  /** Makes one of its items what it is by now; undefined when it no longer belongs here. */
  refresh(item: T): Promise<T | undefined>;
  /** Called once, when no item of it will be refreshed any more. */
  release(): void;
}

/** Streams pages one after another; only one is in memory, and each of its items is looked at again when its turn comes. */
export class PagedScan<T> implements Scan<T> {
  readonly #fetch: (after: string | undefined) => Promise<HeldPage<T>>;
  readonly #cursorOf: (item: T) => string;
  #after: string | undefined;
  #last: T | undefined;

  /** @param after where to begin: a cursor, or undefined for the beginning. */
  constructor(
    after: string | undefined,
    fetch: (after: string | undefined) => Promise<HeldPage<T>>,
    cursorOf: (item: T) => string,
  ) {
    this.#after = after;
    this.#fetch = fetch;
    this.#cursorOf = cursorOf;
  }

  get cursor(): string | undefined {
    return this.#last === undefined ? this.#after : this.#cursorOf(this.#last);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const page = await this.#fetch(this.#after);
      try {
        for (const item of page.items) {
          const current = await page.refresh(item);
          this.#last = item;
          if (current !== undefined) yield current;
        }
      } finally {
        page.release();
      }
      if (page.next === undefined) return;
      this.#after = page.next;
      this.#last = undefined;
    }
  }
}
