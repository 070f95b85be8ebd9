import type { Pool } from '../postgres/pool.ts';
import { readRows } from '../postgres/read-items.ts';
import type { CopyValue } from '../redis/copies.ts';
import type { Redis } from '../redis/connect.ts';
import { type Lifetimes, storedEntry } from '../redis/item-store.ts';
import type { CopyStore } from '../tiers/tier.ts';

export interface RepairParts {
  readonly pool: Pool;
  readonly cache: Redis;
  readonly items: CopyStore;
  readonly config: Lifetimes;
}

/** Rows read at once: their contents may be large. */
const ROWS_AT_ONCE = 50;
/** A look at Postgres that comes too late is taken again; a copy that stays late is dropped, so that reads go on to Postgres. */
const LOOKS = 3;

/** Writes what Postgres has now of `ids` into L2, unless something newer is there. Ids without a row are left alone. */
export async function refreshCopies(parts: RepairParts, ids: readonly string[]): Promise<void> {
  for (let at = 0; at < ids.length; at += ROWS_AT_ONCE) {
    let late = ids.slice(at, at + ROWS_AT_ONCE);
    for (let looks = 0; looks < LOOKS && late.length > 0; looks++) late = await refreshOnce(parts, late);
    if (late.length > 0) await parts.items.drop(late);
  }
}

/** @returns the ids whose copies came too late */
async function refreshOnce({ pool, items, config }: RepairParts, ids: readonly string[]): Promise<string[]> {
  const look = items.look();
  const rows = await readRows(pool, ids);
  const entries = rows.map((row) => storedEntry(row, config));
  const fates = await items.setNewer(entries, look);
  return entries.filter((_, i) => fates[i] === 'late').map(({ id }) => id);
}

/** A copy that another has replaced meanwhile stays; a value that is no text goes whatever it is. */
export async function dropCopies(
  { items }: Pick<RepairParts, 'items'>,
  copies: readonly CopyValue[],
): Promise<void> {
  await Promise.all(copies.map(({ id, value }) => items.dropCopy(id, value ?? '')));
}
