import type { Lanes } from '../lanes.ts';
import {
  countRows,
  readRows,
  type RowDigest,
  rowDigests,
  type Rows,
  selectIds,
  type Selection,
  selectRows,
} from './read-items.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { Shards } from './shards.ts';
import { readTotals, type Totals } from './totals.ts';

/**
 * What one database answers for its rows, for the rows of all shards.
 * All throw TierUnavailableError, which names the shard, and SchemaMissingError.
 */

export async function countAll(shards: Shards, selection: Selection): Promise<number> {
  const { scope } = shards;
  return sum(await shards.whole(({ pool }) => countRows(pool, selection, scope)));
}

/** As `selectRows`. */
export async function selectAll(
  shards: Shards,
  selection: Selection,
  after: string,
  limit: number,
  timeoutMs?: number,
): Promise<Rows<StoredItem>> {
  const { scope } = shards;
  const parts = await shards.whole(({ pool }) => selectRows(pool, selection, after, limit, timeoutMs, scope));
  return merged(parts, limit, ({ id }) => id);
}

/** As `selectIds`. */
export async function selectAllIds(
  shards: Shards,
  selection: Selection,
  after: string,
  limit: number,
  timeoutMs?: number,
): Promise<Rows<string>> {
  const { scope } = shards;
  const parts = await shards.whole(({ pool }) => selectIds(pool, selection, after, limit, timeoutMs, scope));
  return merged(parts, limit, (id) => id);
}

export interface AllTotals extends Totals {
  /** Live items of each shard, by its name; empty when there is one. */
  readonly itemsByShard: ReadonlyMap<string, number>;
}

export async function totalsOf(shards: Shards): Promise<AllTotals> {
  const { scope, all, isOne } = shards;
  const parts = await shards.whole(({ pool }) => readTotals(pool, scope));
  return {
    itemsByShard: new Map(isOne ? [] : all.map(({ name }, i) => [name, parts[i]?.items ?? 0])),
    items: sum(parts.map(({ items }) => items)),
    merklePending: sum(parts.map(({ merklePending }) => merklePending)),
    deadLetters: sum(parts.map(({ deadLetters }) => deadLetters)),
  };
}

/** As `readRows`. */
export async function rowsOfIds(shards: Shards, lanes: Lanes, ids: readonly string[]): Promise<StoredItem[]> {
  return shards.ofIds(lanes, ids, ({ pool }, own) => readRows(pool, own));
}

/** As `rowDigests`. */
export async function digestsOfIds(
  shards: Shards,
  lanes: Lanes,
  ids: readonly string[],
): Promise<Map<string, RowDigest>> {
  return new Map(await shards.ofIds(lanes, ids, async ({ pool }, own) => [...(await rowDigests(pool, own))]));
}

/** One page of the pages that begin at one place. Rows behind the end of a page that has more are left to the next call. */
function merged<T>(parts: readonly Rows<T>[], limit: number, idOf: (row: T) => string): Rows<T> {
  if (parts.length === 1) return parts[0] as Rows<T>;
  const ends = parts.flatMap(({ rows, more }) => (more && rows.length > 0 ? [idOf(rows.at(-1) as T)] : []));
  const end = ends.toSorted(compareIds)[0];
  const rows = parts
    .flatMap((part) => part.rows)
    .filter((row) => end === undefined || compareIds(idOf(row), end) <= 0)
    .toSorted((a, b) => compareIds(idOf(a), idOf(b)));
  return { rows: rows.slice(0, limit), more: end !== undefined || rows.length > limit };
}

/** By bytes, as Postgres orders ids. JavaScript's order of UTF-16 units is another one. */
export function compareIds(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
