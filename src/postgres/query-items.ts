import { prefixRange } from '../schema/prefix.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import { type Queryable, timed } from './pool.ts';
import { ITEM_COLUMNS, type ItemRow, toStored } from './read-items.ts';

/** Which live rows are meant: those of one state, or those whose id begins with a text. */
export type Selection =
  | { readonly by: 'state'; readonly key: string }
  | { readonly by: 'prefix'; readonly key: string };

export interface Rows<T> {
  readonly rows: readonly T[];
  /** There are others after the last of these. */
  readonly more: boolean;
}

/** Stored bytes, as compressed, at which a page ends: a page of the largest items must not fill the memory. */
const PAGE_BYTES = 4 * 1024 * 1024;

/**
 * Up to `limit` rows after the id `after` in the order of ids, fewer when they are large, and at least one if there is one.
 * @param timeoutMs after which the statement fails and its connection is given up; left out: no limit.
 */
export async function selectRows(
  db: Queryable,
  selection: Selection,
  after: string,
  limit: number,
  timeoutMs?: number,
): Promise<Rows<StoredItem>> {
  const { name, where, values } = conditionOf(selection, after);
  const { rows } = await db.query<[...ItemRow, found: number]>({
    rowMode: 'array',
    ...timed({
      name: `tierline-page-${name}`,
      // pg_column_size reads no content: a large value's row holds only a pointer and the size.
      text: `SELECT ${ITEM_COLUMNS}, found FROM (
             SELECT p.*, count(*) OVER ()::int AS found, coalesce(sum(size) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
             FROM (SELECT *, coalesce(pg_column_size(content), pg_column_size(content_bytes)) AS size
                   FROM items WHERE ${where} AND NOT deleted ORDER BY id LIMIT $1) p) q
           WHERE before < ${PAGE_BYTES} ORDER BY id`,
      values: [limit + 1, ...values],
      timeoutMs,
    }),
  });
  const found = (rows[0]?.[2] as number | undefined) ?? 0;
  return { rows: rows.slice(0, limit).map(toStored), more: found > Math.min(rows.length, limit) };
}

/** The ids alone. */
export async function selectIds(
  db: Queryable,
  selection: Selection,
  after: string,
  limit: number,
  timeoutMs?: number,
): Promise<Rows<string>> {
  const { name, where, values } = conditionOf(selection, after);
  const { rows } = await db.query<{ id: string }>(
    timed({
      name: `tierline-ids-${name}`,
      text: `SELECT id FROM items WHERE ${where} AND NOT deleted ORDER BY id LIMIT $1`,
      values: [limit + 1, ...values],
      timeoutMs,
    }),
  );
  return { rows: rows.slice(0, limit).map(({ id }) => id), more: rows.length > limit };
}

export async function countRows(db: Queryable, selection: Selection): Promise<number> {
  const { name, where, values } = conditionOf(selection, '');
  const { rows } = await db.query<{ n: number }>({
    name: `tierline-count-${name}`,
    text: `SELECT count(*) AS n FROM items WHERE $1::int IS NOT NULL AND ${where} AND NOT deleted`,
    values: [0, ...values],
  });
  return rows[0]?.n ?? 0;
}

/** Parameters begin at $2. Every form has a statement of its own, so that each keeps the plan that walks its index. */
function conditionOf(
  { by, key }: Selection,
  after: string,
): { name: string; where: string; values: string[] } {
  if (by === 'state') return { name: 'state', where: 'state = $2 AND id > $3', values: [key, after] };
  // Both bounds always: whatever `after` is, the rows are of the prefix.
  const { from, to } = prefixRange(key);
  const begin = 'id >= $2 AND id > $3';
  return to === undefined
    ? { name: 'prefix>', where: begin, values: [from, after] }
    : { name: 'prefix<>', where: `${begin} AND id < $4`, values: [from, after, to] };
}
