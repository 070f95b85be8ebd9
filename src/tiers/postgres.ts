import type { Lanes } from '../lanes.ts';
import type { Pool } from '../postgres/pool.ts';
import { readHeads, readRows } from '../postgres/read-items.ts';
import type { Shards } from '../postgres/shards.ts';
import type { StoredHead, StoredItem } from '../schema/stored-item.ts';
import type { Tier } from './tier.ts';

/** L3: the rows in Postgres, of every id in the shard of its partition. What it does not know does not exist. */
export class PostgresTier implements Tier {
  readonly #shards: Shards;
  readonly #lanes: Lanes;
  readonly #timeoutMs: number;
  #requests = 0;
  #failures = 0;

  /** @param timeoutMs milliseconds one read by ids may take. */
  constructor(shards: Shards, lanes: Lanes, timeoutMs: number) {
    this.#shards = shards;
    this.#lanes = lanes;
    this.#timeoutMs = timeoutMs;
  }

  get counters(): { requests: number; failures: number } {
    return { requests: this.#requests, failures: this.#failures };
  }

  async getMany(ids: readonly string[]): Promise<(StoredItem | undefined)[]> {
    return inOrder(ids, await this.#ask(ids, readRows));
  }

  /** Kind and stamps of each row without its content. @throws TierUnavailableError */
  async getHeads(ids: readonly string[]): Promise<(StoredHead | undefined)[]> {
    return inOrder(ids, await this.#ask(ids, readHeads));
  }

  async #ask<T>(ids: readonly string[], read: Read<T>): Promise<T[]> {
    this.#requests++;
    try {
      return await this.#shards.ofIds(this.#lanes, ids, ({ pool }, own) => read(pool, own, this.#timeoutMs));
    } catch (error) {
      this.#failures++;
      throw error;
    }
  }
}

type Read<T> = (pool: Pool, ids: readonly string[], timeoutMs: number) => Promise<T[]>;

function inOrder<T extends { readonly id: string }>(
  ids: readonly string[],
  rows: readonly T[],
): (T | undefined)[] {
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.map((id) => byId.get(id));
}
