import type { Row } from '../batch/fold.ts';
import { UNWRITTEN } from '../clock.ts';
import { type Digester, xorDigests, ZERO_DIGEST } from '../merkle/digest.ts';
import type { RowNow } from '../postgres/apply-batch.ts';
import { type Lifetimes, type StoredEntry, storedEntry } from '../redis/item-store.ts';

/** The L2 copy of a row whose content this batch wrote; its state may be another batch's (`now`). */
export function copyOfRow(
  row: Row,
  now: RowNow | undefined,
  digester: Digester,
  lifetimes: Lifetimes,
): StoredEntry {
  const stateVersion = now?.stateVersion ?? row.stateVersion;
  const state = now?.state ?? row.state;
  const stateDigest =
    now === undefined
      ? row.stateDigest
      : stateVersion === UNWRITTEN
        ? ZERO_DIGEST
        : digester.state(row.id, stateVersion, state);
  return storedEntry(
    {
      id: row.id,
      kind: row.deleted ? 'deleted' : row.binary ? 'binary' : 'json',
      contentVersion: row.contentVersion,
      stateVersion,
      tiers: row.tiers,
      digest: xorDigests(row.contentDigest, stateDigest),
      contentHash: row.contentHash,
      state,
      body: row.body,
    },
    lifetimes,
    row.ttlMs,
  );
}

/** Its content is this batch's: the copy can be made without reading the row. */
export function ownsContent(row: Row, now: RowNow | undefined): boolean {
  return now === undefined || (row.contentVersion > 0 && now.contentVersion === row.contentVersion);
}
