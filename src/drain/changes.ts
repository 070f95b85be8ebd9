import type { RowNow } from '../postgres/apply-batch.ts';
import type { FeedChanges } from '../schema/feed.ts';

/** A row after its batch: a folded row, or one read back. */
export type ChangedRow = Pick<RowNow, 'id' | 'contentVersion' | 'stateVersion' | 'deleted'>;

/** What the feed tells readers of a batch: every row as it stands now. */
export function changesOf(
  rows: readonly ChangedRow[],
  differing: ReadonlyMap<string, RowNow>,
  cacheRows: readonly ChangedRow[],
): FeedChanges {
  const now = rows.map((row) => differing.get(row.id) ?? row);
  const all = [...now, ...cacheRows];
  const kinds = now.map((row) => (row.deleted ? 'd' : 'p')).join('') + 'c'.repeat(cacheRows.length);
  const stateful = all.some((row) => row.stateVersion > 0);
  return {
    ids: all.map((row) => row.id),
    cv: all.map((row) => row.contentVersion),
    ...(stateful ? { sv: all.map((row) => row.stateVersion) } : {}),
    kinds,
  };
}
