import { InvalidItemError } from '../errors.ts';
import { isId } from '../schema/item.ts';
import type { Page } from '../types/call.ts';
import type { Scan } from '../types/read.ts';

/** What a page is a page of. */
interface Selection {
  readonly by: 'state' | 'prefix' | 'children';
  readonly key: string;
}

/** Format of the text; a cursor may be kept longer than a process lives. */
const FORMAT = 1;
/** A key and an id of 255 bytes each, all of them escaped in JSON, take less. */
const MAX_CHARS = 4200;

/** The place after `id` in a selection, as opaque text that any process understands. */
export function cursorAfter({ by, key }: Selection, id: string): string {
  return Buffer.from(JSON.stringify([FORMAT, by, key, id])).toString('base64url');
}

/**
 * The id that a cursor stands after; '' for the beginning. Cursors come back from callers' callers, who may have made them up.
 * @throws InvalidItemError when it is of another selection, or not as `cursorAfter` writes it
 */
export function idOfCursor(selection: Selection, cursor: string | undefined): string {
  if (cursor === undefined) return '';
  const [format, by, key, id] = partsOf(cursor);
  if (format !== FORMAT || typeof by !== 'string' || typeof key !== 'string' || !isId(id)) throw unknown();
  if (by !== selection.by || key !== selection.key) {
    throw new InvalidItemError('after', `is a cursor of ${by} ${JSON.stringify(key)}`);
  }
  // One place has one spelling.
  if (!isWithin(id, selection) || cursorAfter(selection, id) !== cursor) throw unknown();
  return id;
}

function isWithin(id: string, { by, key }: Selection): boolean {
  if (by === 'prefix') return id.startsWith(key);
  return by === 'state' || key === '' || id.startsWith(`${key}.`);
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
