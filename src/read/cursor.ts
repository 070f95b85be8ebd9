import { InvalidItemError } from '../errors.ts';

/** What a page is a page of. */
interface Selection {
  readonly by: 'state' | 'prefix' | 'children';
  readonly key: string;
}

/** Format of the text; a cursor may be kept longer than a process lives. */
const FORMAT = 1;

/** The place after `id` in a selection, as opaque text that any process understands. */
export function cursorAfter({ by, key }: Selection, id: string): string {
  return Buffer.from(JSON.stringify([FORMAT, by, key, id])).toString('base64url');
}

/** The id that a cursor stands after; '' for the beginning. @throws InvalidItemError when it is of another selection. */
export function idOfCursor({ by, key }: Selection, cursor: string | undefined): string {
  if (cursor === undefined) return '';
  const parts = partsOf(cursor);
  if (parts === undefined) throw new InvalidItemError('after', 'is not a cursor of Tierline');
  const [, ofBy, ofKey, id] = parts;
  if (ofBy !== by || ofKey !== key) {
    throw new InvalidItemError('after', `is a cursor of ${String(ofBy)} ${JSON.stringify(ofKey)}`);
  }
  return id;
}

function partsOf(cursor: string): readonly [1, unknown, unknown, string] | undefined {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    if (!Array.isArray(parts) || parts.length !== 4 || parts[0] !== FORMAT || typeof parts[3] !== 'string') {
      return undefined;
    }
    return parts as unknown as readonly [1, unknown, unknown, string];
  } catch {
    return undefined;
  }
}
