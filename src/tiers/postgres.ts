import { type Pool, readL3 } from '../postgres/pool.ts';
import { readRows } from '../postgres/read-items.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { Tier } from './tier.ts';

/** L3: the rows in Postgres. What it does not know does not exist. */
export class PostgresTier implements Tier {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  async getMany(ids: readonly string[]): Promise<(StoredItem | undefined)[]> {
    const rows = await readL3(() => readRows(this.#pool, ids));
    const byId = new Map(rows.map((row) => [row.id, row]));
    return ids.map((id) => byId.get(id));
  }
}
