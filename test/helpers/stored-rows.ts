import type { Pool } from '../../src/postgres/pool.ts';
import type { Redis } from '../../src/redis/connect.ts';
import type { Deployment } from './deployment.ts';
import { decodeStored, type StoredItem } from '../../src/schema/stored-item.ts';
import type { ModelRow } from './model.ts';

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
  return rows.map(
    ({
      id,
      contentVersion,
      stateVersion,
      deleted,
      content,
      bytes,
      hash,
      state,
      tombstoneWeek,
      digest,
      stateDigest,
    }) => ({
      id,
      contentVersion,
      stateVersion,
      deleted,
      kind: content === null ? (bytes === null ? undefined : 'binary') : 'json',
      body: content ?? bytes ?? undefined,
      hash: hash ?? undefined,
      state,
      tombstoneWeek,
      digest,
      stateDigest,
    }),
  );
}

/** What L2 must say of a row. */
export function asCopy(row: ModelRow): object {
  return {
    id: row.id,
    kind: row.kind ?? 'deleted',
    contentVersion: row.contentVersion,
    stateVersion: row.stateVersion,
    digest: row.digest,
    hash: row.hash ?? '',
    state: row.state,
    body: row.body ?? '',
  };
}

/** The L2 copies of `ids` in the form of `asCopy`; undefined where there is none. */
export async function storedCopies(
  redis: Redis,
  keys: Pick<Deployment['keys'], 'item'>,
  ids: readonly string[],
): Promise<(object | undefined)[]> {
  const values = await redis.mget(ids.map((id) => keys.item(id)));
  return values.map((value, i) =>
    value === null ? undefined : copyForm(decodeStored(ids[i] as string, value)),
  );
}

/** A copy in the form of `asCopy`. */
export function copyForm(copy: StoredItem) {
  const { id, kind, contentVersion, stateVersion, digest, contentHash, state, body } = copy;
  return { id, kind, contentVersion, stateVersion, digest, hash: contentHash, state, body };
}
