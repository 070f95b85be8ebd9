import type { Page, Scan } from '../types.ts';

/** Streams pages one after another; only one is in memory, and each of its items is looked at again when its turn comes. */
export class PagedScan<T> implements Scan<T> {
  readonly #fetch: (after: string | undefined) => Promise<Page<T>>;
  readonly #cursorOf: (item: T) => string;
  readonly #refresh: (item: T) => Promise<T | undefined>;
  #after: string | undefined;
  #last: T | undefined;

  /**
   * @param after where to begin: a cursor, or undefined for the beginning.
   * @param refresh makes an item of a page what it is by now; undefined when it no longer belongs here.
   */
  constructor(
    after: string | undefined,
    fetch: (after: string | undefined) => Promise<Page<T>>,
    cursorOf: (item: T) => string,
    refresh: (item: T) => Promise<T | undefined>,
  ) {
    this.#after = after;
    this.#refresh = refresh;
    this.#fetch = fetch;
    this.#cursorOf = cursorOf;
  }

  get cursor(): string | undefined {
    return this.#last === undefined ? this.#after : this.#cursorOf(this.#last);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const page = await this.#fetch(this.#after);
      for (const item of page.items) {
        const current = await this.#refresh(item);
        this.#last = item;
        if (current !== undefined) yield current;
      }
      if (page.next === undefined) return;
      this.#after = page.next;
      this.#last = undefined;
    }
  }
}
