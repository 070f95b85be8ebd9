import { type Pool, readL3 } from '../postgres/pool.ts';
import { readHeads, readRows } from '../postgres/read-items.ts';
import type { StoredHead, StoredItem } from '../schema/stored-item.ts';
import type { Tier } from './tier.ts';

/** L3: the rows in Postgres. What it does not know does not exist. */
export class PostgresTier implements Tier {
  readonly #pool: Pool;
  readonly #timeoutMs: number;
  #requests = 0;
  #failures = 0;

  /** @param timeoutMs milliseconds one read by ids may take. */
  constructor(pool: Pool, timeoutMs: number) {
    this.#pool = pool;
    this.#timeoutMs = timeoutMs;
  }

  get counters(): { requests: number; failures: number } {
    return { requests: this.#requests, failures: this.#failures };
  }

  async getMany(ids: readonly string[]): Promise<(StoredItem | undefined)[]> {
    return inOrder(ids, await this.#ask(() => readRows(this.#pool, ids, this.#timeoutMs)));
  }

  /** Kind and stamps of each row without its content. @throws TierUnavailableError */
  async getHeads(ids: readonly string[]): Promise<(StoredHead | undefined)[]> {
    return inOrder(ids, await this.#ask(() => readHeads(this.#pool, ids, this.#timeoutMs)));
  }

  async #ask<T>(work: () => Promise<T>): Promise<T> {
    this.#requests++;
    try {
      return await readL3(work);
    } catch (error) {
      this.#failures++;
      throw error;
    }
  }
}

function inOrder<T extends { readonly id: string }>(
  ids: readonly string[],
  rows: readonly T[],
): (T | undefined)[] {
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.map((id) => byId.get(id));
}
