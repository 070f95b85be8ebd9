import type { ChainableCommander, Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { STORED_HEAD_CHARS } from '../schema/stored-item.ts';
import { isUnknownScript, Script } from './script.ts';

const setNewerScript = new Script('set-newer');
const dropCopyScript = new Script('drop-copy');

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

  /** The first characters of each value, enough for `decodeStoredHead`; '' where there is none. One round trip. */
  async getHeads(ids: readonly string[]): Promise<string[]> {
    const pipeline = this.#redis.pipeline();
    for (const id of ids) pipeline.getrange(this.#keys.item(id), 0, STORED_HEAD_CHARS - 1);
    return (await repliesOf(pipeline)).map(String);
  }

  /** Drops a value that cannot be used, unless another has taken its place. */
  async dropCopy(id: string, value: string): Promise<void> {
    await dropCopyScript.run(this.#redis, [this.#keys.item(id)], [value]);
  }

  /**
   * Stores each entry unless a newer one is there; one command an id, one or two round trips.
   * @param likelyAbsent most ids are expected to have no copy yet: a plain SET NX then spares Redis the script (4 µs of its
   *   one thread an id), and only the ids that do have a copy are asked again with it.
   * @returns for each entry whether it is what L2 holds now
   */
  async setNewer(entries: readonly StoredEntry[], likelyAbsent = false): Promise<boolean[]> {
    if (!likelyAbsent) return this.#replaceOlder(entries);
    const stored = await this.#setAbsent(entries);
    const present = entries.filter((_, i) => !stored[i]);
    const replaced = await this.#replaceOlder(present);
    let next = 0;
    return stored.map((isStored) => isStored || replaced[next++] === true);
  }

  async #replaceOlder(entries: readonly StoredEntry[]): Promise<boolean[]> {
    if (entries.length === 0) return [];
    try {
      return await this.#runScripts(entries);
    } catch (error) {
      if (!isUnknownScript(error)) throw error;
      await setNewerScript.load(this.#redis);
      return this.#runScripts(entries);
    }
  }

  async #setAbsent(entries: readonly StoredEntry[]): Promise<boolean[]> {
    const pipeline = this.#redis.pipeline();
    for (const { id, value, ttlMs } of entries) {
      if (ttlMs === 0) pipeline.set(this.#keys.item(id), value, 'NX');
      else pipeline.set(this.#keys.item(id), value, 'PX', ttlMs, 'NX');
    }
    return (await repliesOf(pipeline)).map((reply) => reply === 'OK');
  }

  async #runScripts(entries: readonly StoredEntry[]): Promise<boolean[]> {
    const pipeline = this.#redis.pipeline();
    for (const { id, value, ttlMs } of entries) {
      pipeline.evalsha(setNewerScript.sha, 1, this.#keys.item(id), value, ttlMs);
    }
    return (await repliesOf(pipeline)).map((reply) => reply === 1);
  }
}

/** @throws the first error among the replies */
async function repliesOf(pipeline: ChainableCommander): Promise<unknown[]> {
  const results = await pipeline.exec();
  return (results ?? []).map(([error, reply]) => {
    if (error !== null) throw error;
    return reply;
  });
}
