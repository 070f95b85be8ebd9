import { encodeStored, type StoredItem } from '../schema/stored-item.ts';

export interface StoredEntry {
  readonly id: string;
  /** What `encodeStored` gave. */
  readonly value: string;
  /** Milliseconds to live; 0 for no end. */
  readonly ttlMs: number;
}

/** How long copies made from rows live, and tombstones and fences, in milliseconds. */
export interface Lifetimes {
  readonly tombstoneTtlMs: number;
  readonly backfillTtlMs: number;
}

/** Whether the item's content must not come into L2. */
export function isDurableOnly({ kind, tiers }: Pick<StoredItem, 'kind' | 'tiers'>): boolean {
  return tiers === 'durable' && kind !== 'deleted';
}

/**
 * What L2 keeps of an item. Of an item for L3 alone it is a fence: the stamps without the content.
 * @param ttlMs life of a copy with content; 0 for no end; by default that of copies made from rows
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

/** Replaces an older copy, and keeps an older back-fill out. */
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
