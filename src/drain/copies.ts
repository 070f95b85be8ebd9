import type { Row } from '../batch/fold.ts';
import { UNWRITTEN } from '../clock.ts';
import { type Digester, xorDigests, ZERO_DIGEST } from '../merkle/digest.ts';
import { readRows } from '../postgres/read-items.ts';
import type { RowNow } from '../postgres/apply-batch.ts';
import { encodeStored, type StoredItem } from '../schema/stored-item.ts';
import type { StoredEntry } from '../redis/item-store.ts';

import type { WriterParts } from './writer-parts.ts';

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

/** The L2 copy of a row read back from L3: this batch wrote its state, another its content. */
export function copyOfStored(item: StoredItem, lifetimes: Lifetimes): StoredEntry {
  return entryOf(item, lifetimes.backfillTtlMs, lifetimes);
}

function entryOf(item: StoredItem, ttlMs: number, lifetimes: Lifetimes): StoredEntry {
  const life = item.kind === 'd' || item.kind === 'x' ? lifetimes.tombstoneTtlMs : ttlMs;
  return { id: item.id, value: encodeStored(item), ttlMs: life };
}

/** Rows as their batch left them, and how some of them stand otherwise by now. */
export interface WrittenRows {
  readonly rows: readonly Row[];
  readonly differing: ReadonlyMap<string, RowNow>;
  /** No row was there before, so L2 has hardly a copy of any. */
  readonly allNew: boolean;
}

/** Writes the L2 copies of every row a batch shaped, and of rows for L2 alone. Returns for each of the latter whether L2 took it. */
export async function copyRows(
  parts: WriterParts,
  { rows, differing, allNew }: WrittenRows,
  cacheRows: readonly Row[] = [],
): Promise<boolean[]> {
  const { pool, items, digester, config } = parts;
  const own = rows.filter((row) => ownsContent(row, differing.get(row.id)));
  const stateOnly = rows.filter((row) => ownsStateOnly(row, differing.get(row.id))).map((row) => row.id);
  const reread = stateOnly.length === 0 ? [] : await readRows(pool, stateOnly);
  const copies = [
    ...own.map((row) => copyOfRow(row, differing.get(row.id), digester, config)),
    ...reread.map((item) => copyOfStored(item, config)),
  ];
  const cacheCopies = cacheRows.map((row) => copyOfRow(row, undefined, digester, config));
  const taken = await items.setNewer([...copies, ...cacheCopies], allNew);
  return taken.slice(copies.length);
}

function ownsContent(row: Row, now: RowNow | undefined): boolean {
  return now === undefined || (row.contentVersion > 0 && now.contentVersion === row.contentVersion);
}

function ownsStateOnly(row: Row, now: RowNow | undefined): boolean {
  return (
    now !== undefined &&
    !ownsContent(row, now) &&
    row.stateVersion > 0 &&
    now.stateVersion === row.stateVersion
  );
}
