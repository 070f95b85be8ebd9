import type { Stamp } from '../clock.ts';
import type { HashRange } from '../lanes.ts';
import { type Digest, keyHash } from '../merkle/digest.ts';
import { parsePrefix, parseState, prefixRange } from '../schema/item.ts';
import { TIERS } from '../schema/job.ts';
import { decodeStored, KINDS, type StoredHead, type StoredItem } from '../schema/stored-item.ts';
import { textArray } from './arrays.ts';
import { IN_SCOPE, type RowScope } from './deployment.ts';
import { type Queryable, readL3, timed } from './pool.ts';

/** A row's digest in hex. */
export const DIGEST = "encode(int8send(digest_hi) || int8send(digest_lo), 'hex')";

/** One row of `ITEM_COLUMNS`, as an array: the driver builds arrays faster than objects. */
export type ItemRow = [id: string, text: string, ...others: unknown[]];

/**
 * A row as the text that L2 keeps (`schema/stored-item.ts`). Postgres builds the text, because the driver takes 0.2 µs to read a
 * column, and because the text goes into L2 unchanged. `replace` takes out the line breaks that Postgres puts into base64.
 */
const ITEM_COLUMNS = `id, '1' || CASE WHEN deleted THEN '${KINDS.of.deleted}' WHEN content IS NULL THEN '${KINDS.of.binary}' ELSE '${KINDS.of.json}' END
  || lpad(content_version::text, 16, '0') || lpad(state_version::text, 16, '0') || CASE WHEN durable THEN '${TIERS.of.durable}' ELSE '${TIERS.of.all}' END || ${DIGEST}
  || rpad(coalesce(encode(content_hash, 'hex'), ''), 64) || lpad(length(state)::text, 2, '0') || state
  || coalesce(content::text, replace(encode(content_bytes, 'base64'), E'\\n', ''), '') AS text`;

/** Selects `ItemRow`s. @param ids an expression of type text[] */
export const ROWS_OF = (ids: string) => `SELECT ${ITEM_COLUMNS} FROM items WHERE id = ANY(${ids})`;

/** The same without the contents. */
export const HEADS_OF = (ids: string) =>
  `SELECT id, CASE WHEN deleted THEN 'deleted' WHEN content IS NULL THEN 'binary' ELSE 'json' END AS kind,
     content_version AS "contentVersion", state_version AS "stateVersion"
   FROM items WHERE id = ANY(${ids})`;

/**
 * The rows of `ids`, tombstones included, in no order. Ids without a row are left out.
 * @param timeoutMs after which the read fails and its connection is given up; left out: no limit.
 */
export async function readRows(
  db: Queryable,
  ids: readonly string[],
  timeoutMs?: number,
): Promise<StoredItem[]> {
  const { rows } = await db.query<ItemRow>({
    rowMode: 'array',
    ...timed({
      name: 'tierline-read',
      text: ROWS_OF('$1::text[]'),
      values: [textArray(ids)],
      timeoutMs,
    }),
  });
  return rows.map(toStored);
}

/** The same without the contents. */
export async function readHeads(
  db: Queryable,
  ids: readonly string[],
  timeoutMs?: number,
): Promise<(StoredHead & { readonly id: string })[]> {
  const { rows } = await db.query<{
    id: string;
    kind: StoredHead['kind'];
    contentVersion: Stamp;
    stateVersion: Stamp;
  }>(
    timed({
      name: 'tierline-heads',
      text: HEADS_OF('$1::text[]'),
      values: [textArray(ids)],
      timeoutMs,
    }),
  );
  return rows.map(({ id, kind, contentVersion, stateVersion }) => ({
    id,
    kind,
    contentVersion,
    stateVersion,
    tiers: 'all',
  }));
}

export function toStored([id, text]: ItemRow): StoredItem {
  return decodeStored(id, text);
}

/**
 * Live ids after `after`, in an order that stays: that of their bytes or, for a part of the hash tree, that of the index by their
 * places in it.
 */
export async function liveIdsAfter(
  db: Queryable,
  after: string,
  limit: number,
  hashes?: HashRange,
): Promise<string[]> {
  if (hashes !== undefined) return liveIdsWithin(hashes, db, after, limit);
  const { rows } = await db.query<{ id: string }>({
    name: 'tierline-live-ids',
    text: 'SELECT id FROM items WHERE id > $1 AND NOT deleted ORDER BY id LIMIT $2',
    values: [after, limit],
  });
  return rows.map(({ id }) => id);
}

async function liveIdsWithin(
  { first, last }: NonNullable<HashRange>,
  db: Queryable,
  after: string,
  limit: number,
): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>({
    name: 'tierline-live-ids-within',
    text: `SELECT id FROM items WHERE tombstone_week = 0 AND id_hash >= $1 AND id_hash <= $2 AND (id_hash > $1 OR id > $3)
           ORDER BY id_hash, id LIMIT $4`,
    values: [after === '' ? first : keyHash(after), last, after, limit],
  });
  return rows.map(({ id }) => id);
}

/** Tells two versions of a row apart without their contents. */
export interface RowDigest {
  readonly contentVersion: Stamp;
  readonly stateVersion: Stamp;
  readonly deleted: boolean;
  readonly digest: Digest;
}

/**
 * Stamps and digests of the rows of `ids` by id, tombstones included. Ids without a row are left out.
 * @throws TierUnavailableError, SchemaMissingError
 */
export async function rowDigests(db: Queryable, ids: readonly string[]): Promise<Map<string, RowDigest>> {
  const { rows } = await readL3(() =>
    db.query<RowDigest & { id: string }>({
      name: 'tierline-row-digests',
      text: `SELECT id, content_version AS "contentVersion", state_version AS "stateVersion", deleted,
               ${DIGEST} AS digest FROM items WHERE id = ANY($1::text[])`,
      values: [textArray(ids)],
    }),
  );
  return new Map(rows.map(({ id, ...row }) => [id, row]));
}

export interface Rows<T> {
  readonly rows: readonly T[];
  /** There are more rows after the last of these. */
  readonly more: boolean;
}

/** The sum of a size over all rows before this one, in the order of a column. */
export const SUM_BEFORE = (size: string, column: string) =>
  `coalesce(sum(${size}) OVER (ORDER BY ${column} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)`;

/** A page ends at so many bytes of content: a page of the largest items must not fill the memory. */
const PAGE_BYTES = 4 * 1024 * 1024;

/**
 * Up to `limit` rows after the id `after`, in the order of ids. Fewer when they are large, but at least one if there is one.
 * @param timeoutMs after which the statement fails and its connection is given up; left out: no limit.
 */
export async function selectRows(
  db: Queryable,
  selection: Selection,
  after: string,
  limit: number,
  timeoutMs?: number,
  scope: RowScope = 'all',
): Promise<Rows<StoredItem>> {
  const { name, where, values } = selection.after(after);
  const { rows } = await db.query<[...ItemRow, found: number]>({
    rowMode: 'array',
    ...timed({
      name: `tierline-page-${name}-${scope}`,
      // By stored sizes first, because a row holds them beside a pointer to a large content. Those are compressed, so what is left is
      // counted again by the contents as they are sent.
      text: `SELECT ${ITEM_COLUMNS}, found FROM (
             SELECT *, ${SUM_BEFORE('coalesce(octet_length(content::text), octet_length(content_bytes))', 'id')} AS sent
             FROM (SELECT *, count(*) OVER ()::int AS found,
                     ${SUM_BEFORE('coalesce(pg_column_size(content), pg_column_size(content_bytes))', 'id')} AS stored
                   FROM (SELECT * FROM items WHERE ${where} AND NOT deleted${IN_SCOPE[scope]} ORDER BY id LIMIT $1) page) sized
             WHERE stored < ${PAGE_BYTES}) counted
           WHERE sent < ${PAGE_BYTES} ORDER BY id`,
      values: [limit + 1, ...values],
      timeoutMs,
    }),
  });
  const found = (rows[0]?.[2] as number | undefined) ?? 0;
  return { rows: rows.slice(0, limit).map(toStored), more: found > Math.min(rows.length, limit) };
}

/** The same rows, ids only. */
export async function selectIds(
  db: Queryable,
  selection: Selection,
  after: string,
  limit: number,
  timeoutMs?: number,
  scope: RowScope = 'all',
): Promise<Rows<string>> {
  const { name, where, values } = selection.after(after);
  const { rows } = await db.query<{ id: string }>(
    timed({
      name: `tierline-ids-${name}-${scope}`,
      text: `SELECT id FROM items WHERE ${where} AND NOT deleted${IN_SCOPE[scope]} ORDER BY id LIMIT $1`,
      values: [limit + 1, ...values],
      timeoutMs,
    }),
  );
  return { rows: rows.slice(0, limit).map(({ id }) => id), more: rows.length > limit };
}

export async function countRows(
  db: Queryable,
  selection: Selection,
  scope: RowScope = 'all',
): Promise<number> {
  const { name, where, values } = selection.after('');
  const { rows } = await db.query<{ n: number }>({
    name: `tierline-count-${name}-${scope}`,
    text: `SELECT count(*) AS n FROM items WHERE $1::int IS NOT NULL AND ${where} AND NOT deleted${IN_SCOPE[scope]}`,
    values: [0, ...values],
  });
  return rows[0]?.n ?? 0;
}

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
