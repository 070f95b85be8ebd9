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

  /** Stores each entry that is newer than what is there; one command an id, one round trip. */
  async setNewer(entries: readonly StoredEntry[]): Promise<void> {
    if (entries.length === 0) return;
    try {
      await this.#pipeline(entries);
    } catch (error) {
      if (!isUnknownScript(error)) throw error;
      await setNewerScript.load(this.#redis);
      await this.#pipeline(entries);
    }
  }

  async #pipeline(entries: readonly StoredEntry[]): Promise<void> {
    const pipeline = this.#redis.pipeline();
    for (const { id, value, ttlMs } of entries) {
      pipeline.evalsha(setNewerScript.sha, 1, this.#keys.item(id), value, ttlMs);
    }
    const results = await pipeline.exec();
    for (const [error] of results ?? []) {
      if (error !== null) throw error;
    }
  }
}
