import pg from 'pg';
import type { Place } from './place.ts';

interface Waiting {
  readonly id: string;
  resolve(content: unknown): void;
  reject(error: unknown): void;
}

/** Contents from the peers' table, parsed. */
export class RowLoader {
  readonly #pool: pg.Pool;
  readonly #select: string;
  #waiting: Waiting[] = [];

  constructor(place: Place) {
    this.#pool = new pg.Pool({ connectionString: place.databaseUrl, max: 4 });
    this.#select = `SELECT id, content FROM ${place.table} WHERE id = ANY($1)`;
  }

  /** For caches that ask for one at a time: one statement for all ids of one turn of the event loop. */
  load(id: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) setImmediate(() => void this.#loadWaiting());
      this.#waiting.push({ id, resolve, reject });
    });
  }

  async loadMany(ids: readonly string[]): Promise<Map<string, unknown>> {
    const { rows } = await this.#pool.query<{ id: string; content: unknown }>({
      name: 'any',
      text: this.#select,
      values: [ids],
    });
    return new Map(rows.map(({ id, content }) => [id, content]));
  }

  close(): Promise<void> {
    return this.#pool.end();
  }

  async #loadWaiting(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    try {
      const found = await this.loadMany(waiting.map(({ id }) => id));
      for (const { id, resolve } of waiting) resolve(found.get(id));
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  }
}
