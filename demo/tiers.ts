import { parseCopyKey } from '../src/keys.ts';
import { decodeStored, versionOf } from '../src/schema/stored-item.ts';
import type { Differences } from './differences.ts';
import type { Found, Model } from './model.ts';
import type { Observer } from './observer.ts';

const PAGE = 5000;

/** What one tier holds, every item of it compared with the model. */
export interface TierCounts {
  live: number;
  tombstones: number;
  /** Live items by state. */
  readonly states: Map<string, number>;
}

class Audit implements TierCounts {
  live = 0;
  tombstones = 0;
  readonly states = new Map<string, number>();
  readonly #tier: string;
  readonly #model: Model;
  readonly #differences: Differences;

  constructor(tier: string, model: Model, differences: Differences) {
    this.#tier = tier;
    this.#model = model;
    this.#differences = differences;
  }

  see(id: string, found: Found): void {
    if (found.deleted) this.tombstones++;
    else {
      this.live++;
      this.states.set(found.state, (this.states.get(found.state) ?? 0) + 1);
    }
    const problem = this.#model.problem(id, found);
    if (problem !== undefined) this.#differences.add(`${this.#tier} ${problem}`);
  }
}

/** Every row of Postgres. */
export async function auditL3(
  { pool }: Observer,
  model: Model,
  differences: Differences,
): Promise<TierCounts> {
  const audit = new Audit('L3', model, differences);
  for (let after = ''; ; ) {
    const { rows } = await pool.query<Found & { id: string }>(
      `SELECT id, deleted, state, greatest(content_version, state_version) AS version,
              coalesce(encode(content_hash, 'hex'), '') AS "contentHash"
       FROM items WHERE id > $1 ORDER BY id LIMIT ${PAGE}`,
      [after],
    );
    for (const { id, ...found } of rows) audit.see(id, found);
    const last = rows.at(-1);
    if (last === undefined) return audit;
    after = last.id;
  }
}

/** Every copy in Redis. */
export async function auditL2(
  { cache, keys, copies }: Observer,
  model: Model,
  differences: Differences,
): Promise<TierCounts> {
  const audit = new Audit('L2', model, differences);
  // SCAN may give a key twice.
  const seen = new Set<string>();
  for await (const page of cache.scanStream({ match: `${keys.itemPrefix}*`, count: PAGE })) {
    const keysOfPage: string[] = page;
    const found = keysOfPage.filter(
      (key) => !seen.has(key) && parseCopyKey(keys, key)?.generation === copies.generation,
    );
    if (found.length === 0) continue;
    const values = await cache.mget(found);
    found.forEach((key, i) => {
      seen.add(key);
      const value = values[i];
      if (value === null || value === undefined) return;
      const stored = decodeStored(parseCopyKey(keys, key)?.id ?? '', value);
      const { state, contentHash } = stored;
      audit.see(stored.id, {
        deleted: stored.kind === 'd',
        state,
        version: versionOf(stored),
        contentHash,
      });
    });
  }
  return audit;
}

/** What Redis and Postgres still have to do, or could not do: all 0 at the end. */
export async function leftovers({
  queue,
  keys,
  pool,
  watch,
}: Observer): Promise<{ unsettled: number; deadLetters: number }> {
  const [pending, inflight, jobs, dead] = await Promise.all([
    queue.hlen(keys.pending),
    queue.zcard(keys.inflight),
    watch.depth(),
    pool.query<{ n: number }>('SELECT count(*) AS n FROM dead_letters'),
  ]);
  return { unsettled: pending + inflight + jobs, deadLetters: dead.rows[0]?.n ?? 0 };
}
