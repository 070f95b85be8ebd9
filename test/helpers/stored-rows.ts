import { compareIds } from '../../src/postgres/all-items.ts';
import type { Pool } from '../../src/postgres/pool.ts';
import type { Shards } from '../../src/postgres/shards.ts';
import type { Deployment } from './deployment.ts';
import { decodeStored, type StoredItem } from '../../src/schema/stored-item.ts';
import type { ModelRow } from './model.ts';
import { getAll } from '../../src/redis/masters.ts';

/** All rows as the database has them, in the model's form and order. */
export async function storedRows(pool: Pool): Promise<ModelRow[]> {
  const { rows } = await pool.query<
    Omit<ModelRow, 'kind' | 'body' | 'hash'> & Record<'content' | 'bytes' | 'hash', string | null>
  >(
    `SELECT id, content_version AS "contentVersion", state_version AS "stateVersion", deleted, content::text AS content,
       replace(encode(content_bytes, 'base64'), E'\\n', '') AS bytes, encode(content_hash, 'hex') AS hash, state, tombstone_week AS "tombstoneWeek",
       encode(int8send(digest_hi) || int8send(digest_lo), 'hex') AS digest,
       encode(int8send(state_digest_hi) || int8send(state_digest_lo), 'hex') AS "stateDigest"
     FROM items ORDER BY id`,
  );
  return rows.map(({ content, bytes, hash, ...row }) => ({
    ...row,
    kind: content === null ? (bytes === null ? undefined : 'binary') : 'json',
    body: content ?? bytes ?? undefined,
    hash: hash ?? undefined,
  }));
}

/** The same of all databases of a deployment. */
export async function allStoredRows(shards: Shards): Promise<ModelRow[]> {
  const lists = await shards.each(({ pool }) => storedRows(pool));
  return lists.flat().toSorted((a, b) => compareIds(a.id, b.id));
}

/** What L2 must say of a row. */
export function asCopy(row: ModelRow): object {
  const { id, kind, contentVersion, stateVersion, digest, hash = '', state, body = '' } = row;
  return { id, kind: kind ?? 'deleted', contentVersion, stateVersion, digest, hash, state, body };
}

/** The L2 copies of rows in the form of `asCopy`; undefined where there is none. */
export async function storedCopies(
  { redis, keys }: Pick<Deployment, 'redis' | 'keys'>,
  rows: readonly { readonly id: string }[],
): Promise<(object | undefined)[]> {
  const ids = rows.map(({ id }) => id);
  const values = await getAll(
    redis,
    ids.map((id) => keys.item(id)),
  );
  return values.map((value, i) =>
    value === null ? undefined : copyForm(decodeStored(ids[i] as string, value)),
  );
}

/** A copy in the form of `asCopy`. */
export function copyForm(copy: StoredItem) {
  const { id, kind, contentVersion, stateVersion, digest, contentHash, state, body } = copy;
  return { id, kind, contentVersion, stateVersion, digest, hash: contentHash, state, body };
}
