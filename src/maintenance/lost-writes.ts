import { type Stamp, UNWRITTEN } from '../clock.ts';
import type { Config } from '../config.ts';
import type { Keys } from '../keys.ts';
import type { Digester } from '../merkle/digest.ts';
import type { Queryable } from '../postgres/pool.ts';
import { rangeCover } from '../postgres/range-deletes.ts';
import { type RowDigest, rowDigests } from '../postgres/read-items.ts';
import { copyKeysOf, type CopyValue, readCopies } from '../redis/copies.ts';
import type { Redis } from '../redis/connect.ts';
import { CacheUnknownError } from '../redis/item-store.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { RepairParts } from './copy-repair.ts';
import { decodedCopy, judgeCopy } from './copy-verdict.ts';

export interface LostWriteParts extends RepairParts {
  /** A `failFast` connection to the queue's Redis. */
  readonly queue: Redis;
  readonly keys: Keys;
  readonly digester: Digester;
  readonly config: Config;
}

/** A settled write that L2 has and Postgres has not. */
export interface LostWrite extends CopyValue {
  readonly copy: StoredItem;
  /** The older row; undefined when there is none. */
  readonly row: RowDigest | undefined;
}

/** Those of `ids` whose L2 copy is newer than their row. @throws TierUnavailableError, SchemaMissingError */
export async function lostWrites(parts: LostWriteParts, ids: readonly string[]): Promise<LostWrite[]> {
  const lost: LostWrite[] = [];
  for await (const values of copiesOf(parts, ids)) {
    lost.push(...(await lostAmong(parts, values)));
  }
  return lost;
}

/** The copies of `ids`, a bounded number of bytes at a time. @throws CacheUnknownError */
export function copiesOf(
  { cache, items }: Pick<LostWriteParts, 'cache' | 'items'>,
  ids: readonly string[],
): AsyncGenerator<CopyValue[]> {
  const { session } = items;
  if (session === undefined) throw new CacheUnknownError();
  return readCopies(cache, copyKeysOf(session.copies, ids));
}

/** @param values read before this is called: a copy is written after its row, so a row that is older now has lost the write. */
export async function lostAmong(
  { pool, digester, config }: LostWriteParts,
  values: readonly CopyValue[],
): Promise<LostWrite[]> {
  const rows = await rowDigests(
    pool,
    values.map(({ id }) => id),
  );
  return values.flatMap((value) => {
    const copy = decodedCopy(value);
    const row = rows.get(value.id);
    const isLost = judgeCopy(copy, row, digester, purgedBelow(config)) === 'newer';
    return copy !== undefined && isLost ? [{ ...value, copy, row }] : [];
  });
}

/** Tombstones with an older stamp may have been purged. */
export function purgedBelow({ purgeAfterMs }: Pick<Config, 'purgeAfterMs'>): Stamp {
  return (Date.now() - purgeAfterMs) * 1000;
}

/**
 * Whether a range delete that came later covers a lost write: then it must not come back (I4). `unclear` when later writes
 * hide what the range would have found.
 */
export async function coverOf(db: Queryable, copy: StoredItem): Promise<'covered' | 'free' | 'unclear'> {
  const { id, kind, contentVersion, stateVersion, state } = copy;
  if (kind === 'deleted') return 'free';
  const stamp = contentVersion === UNWRITTEN ? stateVersion : contentVersion;
  const cover = await rangeCover(db, id, stamp, state);
  if (cover === 'free') return 'free';
  return cover === 'covered' && stateVersion <= stamp ? 'covered' : 'unclear';
}
