import type { Stamp } from '../clock.ts';
import { TIERS } from '../schema/job.ts';
import { decodeStored, KINDS, type StoredHead, type StoredItem } from '../schema/stored-item.ts';
import { textArray } from './arrays.ts';
import { type Queryable, timed } from './pool.ts';

/** One row of `ITEM_COLUMNS`, as an array: the driver builds those faster than objects. */
export type ItemRow = [id: string, text: string, ...others: unknown[]];

/**
 * A row as the text that L2 keeps (`schema/stored-item.ts`). Postgres builds it: the driver takes 0.2 µs a column to read,
 * and the text goes into L2 as it is. Postgres breaks base64 into lines.
 */
export const ITEM_COLUMNS = `id, '1' || CASE WHEN deleted THEN '${KINDS.of.deleted}' WHEN content IS NULL THEN '${KINDS.of.binary}' ELSE '${KINDS.of.json}' END
  || lpad(content_version::text, 16, '0') || lpad(state_version::text, 16, '0') || CASE WHEN durable THEN '${TIERS.of.durable}' ELSE '${TIERS.of.all}' END || encode(int8send(x0) || int8send(x1), 'hex')
  || rpad(coalesce(encode(content_hash, 'hex'), ''), 64) || lpad(length(state)::text, 2, '0') || state
  || coalesce(content::text, replace(encode(content_bytes, 'base64'), E'\\n', ''), '') AS text`;

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
      text: `SELECT ${ITEM_COLUMNS} FROM items WHERE id = ANY($1::text[])`,
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
  const { rows } = await db.query<{ id: string; kind: StoredHead['kind']; cv: Stamp; sv: Stamp }>(
    timed({
      name: 'tierline-heads',
      text: `SELECT id, CASE WHEN deleted THEN 'deleted' WHEN content IS NULL THEN 'binary' ELSE 'json' END AS kind,
               content_version AS cv, state_version AS sv
             FROM items WHERE id = ANY($1::text[])`,
      values: [textArray(ids)],
      timeoutMs,
    }),
  );
  return rows.map(({ id, kind, cv, sv }) => ({
    id,
    kind,
    contentVersion: cv,
    stateVersion: sv,
    tiers: 'all',
  }));
}

export function toStored([id, text]: ItemRow): StoredItem {
  return decodeStored(id, text);
}

/** Live ids after `after`, in the order of their bytes. */
export async function liveIdsAfter(db: Queryable, after: string, limit: number): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>({
    name: 'tierline-live-ids',
    text: 'SELECT id FROM items WHERE id > $1 AND NOT deleted ORDER BY id LIMIT $2',
    values: [after, limit],
  });
  return rows.map(({ id }) => id);
}

/** How many rows the planner believes there are; 0 before the table was first analysed. */
export async function estimatedRows(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ rows: number }>(
    `SELECT greatest(reltuples, 0)::bigint AS rows FROM pg_class WHERE oid = 'items'::regclass`,
  );
  return rows[0]?.rows ?? 0;
}

/** The highest stamp any row carries; 0 for an empty table. Reads every row: for start-up after Redis lost its data. */
export async function highestStamp(db: Queryable): Promise<Stamp> {
  const { rows } = await db.query<{ stamp: Stamp }>(
    'SELECT coalesce(max(greatest(content_version, state_version)), 0)::bigint AS stamp FROM items',
  );
  return rows[0]?.stamp ?? 0;
}
