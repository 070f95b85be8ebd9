import type { Row } from '../batch/fold.ts';
import { UNWRITTEN } from '../clock.ts';
import { type Digester, xorDigests, ZERO_DIGEST } from '../merkle/digest.ts';
import type { RowNow } from '../postgres/apply-batch.ts';
import { encodeStored, fenceOf, isDurableOnly, type StoredItem } from '../schema/stored-item.ts';
import type { StoredEntry } from '../redis/item-store.ts';

export interface Lifetimes {
  readonly tombstoneTtlMs: number;
  readonly backfillTtlMs: number;
}

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
  return entryOf(
    {
      id: row.id,
      // A durable-only write leaves a fence: an older copy must go, and an older back-fill must not come.
      kind: row.deleted ? 'd' : row.route === 'd' ? 'x' : row.binary ? 'b' : 'j',
      contentVersion: row.contentVersion,
      stateVersion,
      origin: row.route === 'c' ? 'c' : 'r',
      digest: xorDigests(row.contentDigest, stateDigest),
      contentHash: row.contentHash,
      state,
      body: row.route === 'd' ? '' : row.body,
    },
    row.ttlMs,
    lifetimes,
  );
}

/** The L2 copy of a row read back from L3. */
export function copyOfStored(item: StoredItem, lifetimes: Lifetimes): StoredEntry {
  return entryOf(isDurableOnly(item) ? fenceOf(item) : item, lifetimes.backfillTtlMs, lifetimes);
}

function entryOf(item: StoredItem, ttlMs: number, lifetimes: Lifetimes): StoredEntry {
  const life = item.kind === 'd' || item.kind === 'x' ? lifetimes.tombstoneTtlMs : ttlMs;
  return { id: item.id, value: encodeStored(item), ttlMs: life };
}

/** Its content is this batch's: the copy can be made without reading the row. */
export function ownsContent(row: Row, now: RowNow | undefined): boolean {
  return now === undefined || (row.contentVersion > 0 && now.contentVersion === row.contentVersion);
}

/** Its state is this batch's and its content another's: the copy needs the row. */
export function ownsStateOnly(row: Row, now: RowNow | undefined): boolean {
  return (
    now !== undefined &&
    !ownsContent(row, now) &&
    row.stateVersion > 0 &&
    now.stateVersion === row.stateVersion
  );
}
