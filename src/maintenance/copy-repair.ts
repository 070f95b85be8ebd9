import type { Lanes } from '../lanes.ts';
import { rowsOfIds } from '../postgres/all-items.ts';
import type { Shards } from '../postgres/shards.ts';
import type { CopyValue } from '../redis/copies.ts';
import type { Redis } from '../redis/client.ts';
import { type Lifetimes, storedEntry } from '../redis/stored-entry.ts';
import type { CopyStore } from '../tiers/tier.ts';

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
