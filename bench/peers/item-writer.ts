import { Redis } from 'ioredis';
import pg from 'pg';
import type { NewItem } from '../../src/types/write.ts';
import type { Place } from './place.ts';

/** Batches that a process writes at once. More made no peer faster on two cores. */
const CONNECTIONS = 4;

/** What a good team writes by hand: one `unnest` upsert a batch, then the copies in one pipeline. */
export class ItemWriter {
  readonly #pool: pg.Pool;
  readonly #cache: Redis;
  readonly #place: Place;
  readonly #upsert: string;

  constructor(place: Place) {
    this.#pool = new pg.Pool({ connectionString: place.databaseUrl, max: CONNECTIONS });
    this.#cache = new Redis(place.cacheRedisUrl);
    this.#place = place;
    this.#upsert = `INSERT INTO ${place.table} (id, content) SELECT * FROM unnest($1::text[], $2::json[])
      ON CONFLICT (id) DO UPDATE SET content = EXCLUDED.content, updated_at = now()`;
  }

  createTable(): Promise<unknown> {
    return this.#pool.query(
      `CREATE TABLE ${this.#place.table} (id text COLLATE "C" PRIMARY KEY, content json NOT NULL, updated_at timestamptz NOT NULL DEFAULT now())`,
    );
  }

  /** As autovacuum does with a table that is read. */
  vacuum(): Promise<unknown> {
    return this.#pool.query(`VACUUM ANALYZE ${this.#place.table}`);
  }

  /** Resolves when the rows are committed and the copies are in Redis. */
  async write(items: readonly NewItem[]): Promise<void> {
    // Postgres refuses an id that stands twice in one upsert. In the order of ids two workers cannot wait for each other.
    const bodies = new Map(items.map(({ id, content }) => [id, JSON.stringify(content)]));
    const ids = [...bodies.keys()].toSorted();
    const texts = ids.map((id) => bodies.get(id) as string);
    await this.#pool.query({ name: 'upsert', text: this.#upsert, values: [ids, texts] });
    const pipeline = this.#cache.pipeline();
    for (const [i, id] of ids.entries()) pipeline.set(copyKey(this.#place, id), texts[i] as string);
    const replies = await pipeline.exec();
    const failed = replies?.find(([error]) => error !== null);
    if (failed?.[0]) throw failed[0];
  }

  async close(): Promise<void> {
    await this.#pool.end();
    this.#cache.disconnect();
  }
}

export function copyKey({ namespace, name }: Place, id: string): string {
  return `${namespace}:${name}:${id}`;
}
