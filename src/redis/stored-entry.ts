import { encodeStored, type StoredItem } from '../schema/stored-item.ts';
import type { StoredEntry } from './item-store.ts';

/** Milliseconds that copies made from rows live, and tombstones and fences. */
export interface Lifetimes {
  readonly tombstoneTtlMs: number;
  readonly backfillTtlMs: number;
}

/** Whether it is a row whose content must not come into L2. */
export function isDurableOnly({ kind, tiers }: Pick<StoredItem, 'kind' | 'tiers'>): boolean {
  return tiers === 'durable' && kind !== 'deleted';
}

/**
 * What L2 keeps of an item: of one for L3 alone a fence without its content.
 * @param ttlMs life of a copy with content; 0 for no end. Left out: that of copies made from rows
 */
export function storedEntry(
  item: StoredItem,
  lifetimes: Lifetimes,
  ttlMs: number = lifetimes.backfillTtlMs,
): StoredEntry {
  const copy = isDurableOnly(item) ? fenceOf(item) : item;
  const hasContent = copy.kind === 'json' || copy.kind === 'binary';
  return {
    id: copy.id,
    value: encodeStored(copy),
    ttlMs: hasContent ? ttlMs : lifetimes.tombstoneTtlMs,
  };
}

/** An older copy must go, and an older back-fill must not come. */
function fenceOf({ id, contentVersion, stateVersion, digest, contentHash, state }: StoredItem): StoredItem {
  return {
    id,
    kind: 'fence',
    contentVersion,
    stateVersion,
    tiers: 'all',
    digest,
    contentHash,
    state,
    body: '',
  };
}
