import { CorruptItemError, TierUnavailableError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { ItemStore } from '../redis/item-store.ts';
import { decodeStored, encodeStored, type StoredItem } from '../schema/stored-item.ts';
import type { Tier } from './tier.ts';

/** L2: the copies in Redis. Missing ones say nothing; a corrupt one counts as missing, for L3 has the truth. */
export class RedisTier implements Tier {
  readonly #items: ItemStore;
  readonly #backfillTtlMs: number;
  readonly #log: Logger;

  constructor(items: ItemStore, backfillTtlMs: number, log: Logger) {
    this.#items = items;
    this.#backfillTtlMs = backfillTtlMs;
    this.#log = log;
  }

  async getMany(ids: readonly string[]): Promise<(StoredItem | undefined)[]> {
    let values: (string | null)[];
    try {
      values = await this.#items.getMany(ids);
    } catch (error) {
      throw new TierUnavailableError('l2', error);
    }
    return values.map((value, i) => (value === null ? undefined : this.#decode(ids[i] as string, value)));
  }

  /** Keeps what L3 said, unless L2 has newer by now, for a bounded time. Failing only costs a later read its speed. */
  async fill(items: readonly StoredItem[]): Promise<void> {
    try {
      await this.#items.setNewer(
        items.map((item) => ({ id: item.id, value: encodeStored(item), ttlMs: this.#backfillTtlMs })),
      );
    } catch (error) {
      this.#log.debug({ err: error }, 'L2 back-fill failed');
    }
  }

  #decode(id: string, value: string): StoredItem | undefined {
    try {
      const item = decodeStored(id, value);
      return item.kind === 'x' ? undefined : item;
    } catch (error) {
      if (!(error instanceof CorruptItemError)) throw error;
      this.#log.warn({ err: error }, 'corrupt L2 copy');
      return undefined;
    }
  }
}
