import { parsePrefix, parseState, prefixRange } from '../schema/item.ts';

/** Selects live rows for pages, scans and counts. */
export interface Selection {
  /** Both stand in cursors, which tell the selection apart from all others. */
  readonly by: string;
  readonly key: string;
  /** Whether an item of this id can be in it. */
  mayHold(id: string): boolean;
  /** Whether an item that was in it still is, in the version it has by now. */
  stillHolds(item: { readonly state: string }): boolean;
  /** Selects the rows after an id. */
  after(id: string): Condition;
}

/** Parameters begin at $2. Each form is a statement of its own, so that each keeps the plan that walks its index. */
interface Condition {
  /** Part of the statement's name. */
  readonly name: string;
  readonly where: string;
  readonly values: readonly string[];
}

/** @throws InvalidItemError */
export function ofState(state: string): Selection {
  const key = parseState(state);
  return {
    by: 'state',
    key,
    mayHold: () => true,
    stillHolds: (item) => item.state === key,
    after: (id) => ({ name: 'state', where: 'state = $2 AND id > $3', values: [key, id] }),
  };
}

/** @param prefix '' for all items. @throws InvalidItemError */
export function ofPrefix(prefix: string): Selection {
  return startingWith(prefix === '' ? prefix : parsePrefix(prefix));
}

/** As `ofPrefix`, for text that is known to be well-formed. It may be longer than any id: then nothing is selected. */
export function startingWith(prefix: string): Selection {
  return {
    by: 'prefix',
    key: prefix,
    mayHold: (id) => id.startsWith(prefix),
    stillHolds: () => true,
    after: (id) => {
      // Keep `from` as well: then the rows begin with the prefix, whatever `id` is.
      const { from, to } = prefixRange(prefix);
      const begin = 'id >= $2 AND id > $3';
      return to === undefined
        ? { name: 'prefix>', where: begin, values: [from, id] }
        : { name: 'prefix<>', where: `${begin} AND id < $4`, values: [from, id, to] };
    },
  };
}
