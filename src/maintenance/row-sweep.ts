import { z } from 'zod';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import type { Digester } from '../merkle/digest.ts';
import type { Shards } from '../postgres/shards.ts';
import { type RowFault, verifyRows } from '../postgres/verify-rows.ts';
import type { Redis } from '../redis/client.ts';

/** Hears how the sweep goes; it must not throw. */
export interface RowSweepObserver {
  /** Rows whose digests were made again in this step, and what was wrong with some of them. */
  rowsVerified(rows: number, faults: readonly RowFault[]): void;
}

/**
 * A step is one statement of 2,000 rows a shard, which takes some 20 ms and as long to digest: 17 million rows a day for less than
 * a hundredth of a core. What is to be checked at once is up to `tierline merkle verify --content`.
 */
export const ROW_STEP_MS = 10_000;

export interface RowSweepParts {
  readonly shards: Shards;
  /** A `failFast` connection to the queue's Redis. */
  readonly queue: Redis;
  readonly keys: Keys;
  readonly digester: Digester;
  readonly log: Logger;
  readonly observer: RowSweepObserver;
}

const place = z.string().catch('');

/**
 * Makes the hash and digest of every row again, a few rows at a time and again from the first row after the last. Redis keeps the
 * place of each shard, so the sweep goes on after a restart; when the place is lost it begins again.
 */
export class RowSweep {
  readonly #parts: RowSweepParts;

  constructor(parts: RowSweepParts) {
    this.#parts = parts;
  }

  /** @throws TierUnavailableError, SchemaMissingError, and what Redis answers */
  async step(): Promise<void> {
    const { shards, queue, keys, digester, log, observer } = this.#parts;
    await shards.each(async ({ name, pool }) => {
      const after = place.parse(await queue.hget(keys.rowSweep, name));
      const { rows, faults, last } = await verifyRows(pool, digester, after);
      observer.rowsVerified(
        rows,
        faults.map(({ fault }) => fault),
      );
      if (faults.length > 0) {
        log.error(
          { shard: name, rows: faults.length, first: faults.slice(0, 10) },
          'rows are not as their writers left them; run `tierline merkle verify --content`, restore them or submit them again',
        );
      }
      await (last === undefined ? queue.hdel(keys.rowSweep, name) : queue.hset(keys.rowSweep, name, last));
    });
  }
}
