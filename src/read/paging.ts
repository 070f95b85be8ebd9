import { InvalidItemError } from '../errors.ts';
import { isId } from '../schema/item.ts';
import type { Page } from '../types/call.ts';
import type { Scan } from '../types/read.ts';

/** What pages are taken from: a selection of items, or the children of a Merkle node. */
interface Listing {
  readonly by: string;
  readonly key: string;
  mayHold(id: string): boolean;
}

/** Format of the text; a cursor may be kept longer than a process lives. */
const FORMAT = 1;
/** The longest cursor is shorter: a key and an id of 255 bytes each, with every byte escaped in JSON. */
const MAX_CHARS = 4200;

/** The place after `id` in a listing, as opaque text that any process understands. */
export function cursorAfter({ by, key }: Pick<Listing, 'by' | 'key'>, id: string): string {
  return Buffer.from(JSON.stringify([FORMAT, by, key, id])).toString('base64url');
}

/**
 * The id that a cursor stands after; '' for the beginning. Cursors come back from callers' callers, who may have made them up.
 * @throws InvalidItemError when it is of another listing, or not as `cursorAfter` writes it
 */
export function idOfCursor(listing: Listing, cursor: string | undefined): string {
  if (cursor === undefined) return '';
  const [format, by, key, id] = partsOf(cursor);
  if (format !== FORMAT || typeof by !== 'string' || typeof key !== 'string' || !isId(id)) throw unknown();
  if (by !== listing.by || key !== listing.key) {
    throw new InvalidItemError('after', `is a cursor of ${by} ${JSON.stringify(key)}`);
  }
  // Each place has one text: refuse the others.
  if (!listing.mayHold(id) || cursorAfter(listing, id) !== cursor) throw unknown();
  return id;
}

function partsOf(cursor: string): readonly unknown[] {
  if (cursor.length > MAX_CHARS) throw unknown();
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    return Array.isArray(parts) ? parts : [];
  } catch {
    return [];
  }
}

function unknown(): InvalidItemError {
  return new InvalidItemError('after', 'is not a cursor of Tierline');
}

/** A page whose items wait for the caller of a scan. */
export interface HeldPage<T> extends Page<T> {
  /** The current version of one of its items; undefined when it no longer belongs to the listing. */
  refresh(item: T): Promise<T | undefined>;
  /** Called once, after the last `refresh`. */
  release(): void;
}

/** Streams one page after another. Only one page is in memory. Each item is refreshed just before it is given out. */
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
