import type pg from 'pg';
import type { Stamp } from '../clock.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import { textArray } from './arrays.ts';
import type { Queryable } from './pool.ts';

/** One row of `ITEM_COLUMNS`. */
export interface ItemRow {
  id: string;
  content: string | null;
  bytes: string | null;
  hash: string | null;
  cv: Stamp;
  sv: Stamp;
  state: string;
  deleted: boolean;
  digest: string;
}

/** Content as text: the driver would parse JSON and build Buffers, which the reader does once, later, or not at all. */
export const ITEM_COLUMNS = `id, content::text AS content, encode(content_bytes, 'base64') AS bytes, encode(content_hash, 'base64') AS hash,
  content_version AS cv, state_version AS sv, state, deleted, encode(int8send(x0) || int8send(x1), 'hex') AS digest`;

/**
 * The rows of `ids`, tombstones included, in no order. Ids without a row are left out.
 * @param timeoutMs after which the read fails and its connection is given up; left out: no limit.
 */
export async function readRows(
  db: Queryable,
  ids: readonly string[],
  timeoutMs?: number,
): Promise<StoredItem[]> {
  const { rows } = await db.query<ItemRow>(
    timed({
      name: 'tierline-read',
      text: `SELECT ${ITEM_COLUMNS} FROM items WHERE id = ANY($1::text[])`,
      values: [textArray(ids)],
      timeoutMs,
    }),
  );
  return rows.map(toStored);
}

/** Those of `ids` that have a live row, in no order. */
export async function liveAmong(
  db: Queryable,
  ids: readonly string[],
  timeoutMs?: number,
): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    timed({
      name: 'tierline-live',
      text: 'SELECT id FROM items WHERE id = ANY($1::text[]) AND NOT deleted',
      values: [textArray(ids)],
      timeoutMs,
    }),
  );
  return rows.map(({ id }) => id);
}

/** node-postgres takes `query_timeout` a statement, which its types do not know. */
export function timed(query: {
  name: string;
  text: string;
  values: unknown[];
  timeoutMs: number | undefined;
}): pg.QueryConfig {
  const { timeoutMs, ...config } = query;
  return timeoutMs === undefined ? config : Object.assign(config, { query_timeout: timeoutMs });
}

export function toStored(row: ItemRow): StoredItem {
  return {
    id: row.id,
    kind: row.deleted ? 'd' : row.content === null ? 'b' : 'j',
    contentVersion: row.cv,
    stateVersion: row.sv,
    origin: 'r',
    digest: row.digest,
    contentHash: row.hash === null ? '' : Buffer.from(row.hash, 'base64').toString('base64url'),
    state: row.state,
    // Postgres breaks base64 into lines.
    body: row.content ?? row.bytes?.replaceAll('\n', '') ?? '',
  };
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
