import { type Stamp, UNWRITTEN } from '../clock.ts';
import { CorruptItemError } from '../errors.ts';
import type { Lanes } from '../lanes.ts';
import { type Digester, hashContent, xorDigests, ZERO_DIGEST } from '../merkle/digest.ts';
import { rowsOfIds } from '../postgres/all-items.ts';
import type { RowDigest } from '../postgres/read-items.ts';
import type { Shards } from '../postgres/shards.ts';
import type { Redis } from '../redis/client.ts';
import type { CopyValue } from '../redis/copies.ts';
import { type Lifetimes, storedEntry } from '../redis/stored-entry.ts';
import { decodeStored, type StoredItem, versionOf } from '../schema/stored-item.ts';
import type { CopyStore } from '../tiers/tier.ts';

/**
 * `same`: nothing to do. `stale`: the row is newer. `deleted`: the row is a newer tombstone, or was one and is purged.
 * `corrupt`: no write stored this copy. `newer`: the copy has a write that the row has not. Either that write is in flight or
 * Postgres has lost it.
 */
export type Verdict = 'same' | 'stale' | 'deleted' | 'corrupt' | 'newer';

/** Undefined when the value is no stored item. */
export function decodedCopy({ id, value }: CopyValue): StoredItem | undefined {
  if (value === undefined) return undefined;
  try {
    return decodeStored(id, value);
  } catch (error) {
    if (error instanceof CorruptItemError) return undefined;
    throw error;
  }
}

/**
 * Compares an L2 copy with its row.
 * @param copy what `decodedCopy` gave
 * @param row undefined when there is none
 * @param purgedBelow tombstones with an older stamp may have been purged
 */
export function judgeCopy(
  copy: StoredItem | undefined,
  row: RowDigest | undefined,
  digester: Digester,
  purgedBelow: Stamp,
): Verdict {
  if (copy === undefined || !isSound(copy, digester)) return 'corrupt';
  // It was written to L2 only and needs no row, but a row may be newer.
  if (copy.tiers === 'cache')
    return row !== undefined && comesBefore(copy, row) ? olderThan(row, copy) : 'same';
  if (row === undefined) return withoutRow(copy, purgedBelow);
  if (copy.contentVersion > row.contentVersion || copy.stateVersion > row.stateVersion) return 'newer';
  if (comesBefore(copy, row)) return olderThan(row, copy);
  return copy.digest === row.digest ? 'same' : 'corrupt';
}

/**
 * Whether the digest of a copy belongs to its content, hash, state, stamps and id. Hashing takes 3 µs and one more for each
 * kilobyte, much less than fetching the copy.
 */
export function isSound(copy: StoredItem, digester: Digester): boolean {
  const { id, kind, contentVersion, stateVersion, contentHash, state, body } = copy;
  if (kind === 'deleted') {
    if (contentHash !== '' || body !== '') return false;
  } else if (kind !== 'fence') {
    if (hashContent(kind === 'binary' ? Buffer.from(body, 'base64') : body) !== contentHash) return false;
  }
  const content =
    contentVersion === UNWRITTEN
      ? ZERO_DIGEST
      : digester.content(id, contentVersion, kind === 'deleted' ? undefined : contentHash);
  const stateDigest = stateVersion === UNWRITTEN ? ZERO_DIGEST : digester.state(id, stateVersion, state);
  return xorDigests(content, stateDigest) === copy.digest;
}

/** In the order in which copies replace each other: by content stamp, then by state stamp. */
function comesBefore(copy: StoredItem, row: RowDigest): boolean {
  return (
    copy.contentVersion < row.contentVersion ||
    (copy.contentVersion === row.contentVersion && copy.stateVersion < row.stateVersion)
  );
}

function olderThan(row: RowDigest, copy: StoredItem): Verdict {
  return row.deleted && hasContent(copy) ? 'deleted' : 'stale';
}

/** No tombstone newer than the purge horizon is purged, so a newer copy must have a row. */
function withoutRow(copy: StoredItem, purgedBelow: Stamp): Verdict {
  if (versionOf(copy) >= purgedBelow) return 'newer';
  return hasContent(copy) ? 'deleted' : 'same';
}

function hasContent({ kind }: StoredItem): boolean {
  return kind === 'json' || kind === 'binary';
}

export interface RepairParts {
  readonly shards: Shards;
  readonly lanes: Lanes;
  readonly cache: Redis;
  readonly items: CopyStore;
  readonly config: Lifetimes;
}

/** Rows that are read at once. Their contents may be large. */
const ROWS_AT_ONCE = 50;
/** How often Postgres is read for a copy whose look was too old. Then the copy is dropped, so that reads ask Postgres. */
const LOOKS = 3;

/** Copies the rows of `ids` from Postgres into L2, unless L2 has something newer. Ids without a row are left alone. */
export async function refreshCopies(parts: RepairParts, ids: readonly string[]): Promise<void> {
  for (let at = 0; at < ids.length; at += ROWS_AT_ONCE) {
    let late = ids.slice(at, at + ROWS_AT_ONCE);
    for (let looks = 0; looks < LOOKS && late.length > 0; looks++) late = await refreshOnce(parts, late);
    if (late.length > 0) await parts.items.drop(late);
  }
}

/** @returns the ids whose copies came too late */
async function refreshOnce(
  { shards, lanes, items, config }: RepairParts,
  ids: readonly string[],
): Promise<string[]> {
  const look = items.look();
  const rows = await rowsOfIds(shards, lanes, ids);
  const entries = rows.map((row) => storedEntry(row, config));
  const fates = await items.setNewer(entries, look);
  return entries.filter((_, i) => fates[i] === 'late').map(({ id }) => id);
}

/** Drops copies. One that was replaced meanwhile stays. A key that holds no text is dropped in any case. */
export async function dropCopies(
  { items }: Pick<RepairParts, 'items'>,
  copies: readonly CopyValue[],
): Promise<void> {
  await Promise.all(copies.map(({ id, value }) => items.dropCopy(id, value ?? '')));
}
