import { type Stamp, UNWRITTEN } from '../clock.ts';
import { CorruptItemError } from '../errors.ts';
import { type Digester, hashContent, xorDigests, ZERO_DIGEST } from '../merkle/digest.ts';
import type { RowDigest } from '../postgres/read-items.ts';
import type { CopyValue } from '../redis/copies.ts';
import { decodeStored, type StoredItem, versionOf } from '../schema/stored-item.ts';

/**
 * `same`: nothing to do. `stale`: the row is newer. `deleted`: the row is newer and a tombstone, or was one and is purged.
 * `corrupt`: the copy is not what any write stored. `newer`: the copy has a write that the row has not, so either that write
 * is on its way or Postgres has lost it.
 */
export type Verdict = 'same' | 'stale' | 'deleted' | 'corrupt' | 'newer';

/** Undefined when what stands there is no stored item. */
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
 * What an L2 copy is against its row.
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
  // Written to L2 only: it has no row on purpose, but a row may be newer.
  if (copy.tiers === 'cache')
    return row !== undefined && comesBefore(copy, row) ? olderThan(row, copy) : 'same';
  if (row === undefined) return withoutRow(copy, purgedBelow);
  if (copy.contentVersion > row.contentVersion || copy.stateVersion > row.stateVersion) return 'newer';
  if (comesBefore(copy, row)) return olderThan(row, copy);
  return copy.digest === row.digest ? 'same' : 'corrupt';
}

/**
 * Whether content, hash, state, stamps and id of a copy are those that its digest was made from. All of them are checked:
 * hashing takes 3 µs and a microsecond a kilobyte, a fraction of what fetching the copy takes.
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

/** Nothing newer than the purge horizon is ever purged, so there the row must be. */
function withoutRow(copy: StoredItem, purgedBelow: Stamp): Verdict {
  if (versionOf(copy) >= purgedBelow) return 'newer';
  return hasContent(copy) ? 'deleted' : 'same';
}

function hasContent({ kind }: StoredItem): boolean {
  return kind === 'json' || kind === 'binary';
}
