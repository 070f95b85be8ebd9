import type { Page, Scan } from '../types.ts';

/** Streams pages one after another; only one is in memory. */
export class PagedScan<T> implements Scan<T> {
  readonly #fetch: (after: string | undefined) => Promise<Page<T>>;
  readonly #cursorOf: (item: T) => string;
  #after: string | undefined;
  #last: T | undefined;

  /** @param after where to begin: a cursor, or undefined for the beginning. */
  constructor(
    after: string | undefined,
    fetch: (after: string | undefined) => Promise<Page<T>>,
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
      for (const item of page.items) {
        this.#last = item;
        yield item;
      }
      if (page.next === undefined) return;
      this.#after = page.next;
      this.#last = undefined;
    }
  }
}
