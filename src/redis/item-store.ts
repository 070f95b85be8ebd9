import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { isUnknownScript, Script } from './script.ts';

const setNewerScript = new Script('set-newer');

export interface StoredEntry {
  readonly id: string;
  /** What `encodeStored` gave. */
  readonly value: string;
  /** Milliseconds to live; 0 for no end. */
  readonly ttlMs: number;
}

/** The L2 copies: one text value an item, only ever replaced by a newer one. */
export class ItemStore {
  readonly #redis: Redis;
  readonly #keys: Keys;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
  }

  /** Values in the order of `ids`; null where there is none. */
  getMany(ids: readonly string[]): Promise<(string | null)[]> {
    return this.#redis.mget(ids.map((id) => this.#keys.item(id)));
  }

  /**
   * Stores each entry unless a newer one is there; one command an id, one round trip.
   * Returns for each whether it is what L2 holds now.
   */
  async setNewer(entries: readonly StoredEntry[]): Promise<boolean[]> {
    if (entries.length === 0) return [];
    try {
      return await this.#pipeline(entries);
    } catch (error) {
      if (!isUnknownScript(error)) throw error;
      await setNewerScript.load(this.#redis);
      return this.#pipeline(entries);
    }
  }

  async #pipeline(entries: readonly StoredEntry[]): Promise<boolean[]> {
    const pipeline = this.#redis.pipeline();
    for (const { id, value, ttlMs } of entries) {
      pipeline.evalsha(setNewerScript.sha, 1, this.#keys.item(id), value, ttlMs);
    }
    const results = await pipeline.exec();
    return (results ?? []).map(([error, stored]) => {
      if (error !== null) throw error;
      return stored === 1;
    });
  }
}
