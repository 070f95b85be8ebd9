import type { Stamp } from '../clock.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import { textArray } from './arrays.ts';
import type { Queryable } from './pool.ts';

interface ItemRow {
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
const COLUMNS = `id, content::text AS content, encode(content_bytes, 'base64') AS bytes, encode(content_hash, 'base64') AS hash,
  content_version AS cv, state_version AS sv, state, deleted, encode(int8send(x0) || int8send(x1), 'hex') AS digest`;

/** The rows of `ids`, tombstones included, in no order. Ids without a row are left out. */
export async function readRows(db: Queryable, ids: readonly string[]): Promise<StoredItem[]> {
  const { rows } = await db.query<ItemRow>({
    name: 'tierline-read',
    text: `SELECT ${COLUMNS} FROM items WHERE id = ANY($1::text[])`,
    values: [textArray(ids)],
  });
  return rows.map(toStored);
}

function toStored(row: ItemRow): StoredItem {
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

/** The highest stamp any row carries; 0 for an empty table. Reads every row: for start-up after Redis lost its data. */
export async function highestStamp(db: Queryable): Promise<Stamp> {
  const { rows } = await db.query<{ stamp: Stamp }>(
    'SELECT coalesce(max(greatest(content_version, state_version)), 0)::bigint AS stamp FROM items',
  );
  return rows[0]?.stamp ?? 0;
}
