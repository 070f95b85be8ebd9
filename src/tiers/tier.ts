import type { StoredItem } from '../schema/stored-item.ts';

/** A tier that is asked for many ids at once. */
export interface Tier {
  /**
   * In the order of `ids`. A tombstone is an answer (kind `d`); undefined means this tier does not know the id.
   * @throws TierUnavailableError when the tier cannot be asked.
   */
  getMany(ids: readonly string[]): Promise<(StoredItem | undefined)[]>;
}
