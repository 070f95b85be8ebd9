import { z } from 'zod';
import type { Config } from '../config.ts';
import { PartitionMovedError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import type { Digester } from '../merkle/digest.ts';
import { endSwitch } from '../postgres/map-changes.ts';
import { foldDeltas, purgeTombstones } from '../postgres/merkle-delta.ts';
import { type RowFault, verifyRows } from '../postgres/merkle-verify.ts';
import { purgeRanges } from '../postgres/range-deletes.ts';
import type { Shards } from '../postgres/shards.ts';
import { sweepBytes } from '../redis/backlog.ts';
import { orphanAgeUs, sweepOrphanedChunks, sweepOrphans } from '../redis/chunk-notes.ts';
import type { Redis } from '../redis/client.ts';
import { FilterSource } from '../tiers/filter-source.ts';
import { type CopySweep, SWEEP_STEP_MS, type SweepObserver } from './copy-sweep.ts';

/** Hears how the chores go; it must not throw. */
export interface ChoreObserver extends SweepObserver, RowSweepObserver {
  /** @param ms how long it took. */
  choreEnded(chore: string, ms: number, failed: boolean): void;
}

export const UNOBSERVED_CHORES: ChoreObserver = {
  choreEnded: () => undefined,
  copiesCompared: () => undefined,
  rowsVerified: () => undefined,
};

const SWEEP_EVERY_MS = 60_000;
/** Short, because range deletes wait for orphaned chunks. */
const SWEEP_CHUNKS_EVERY_MS = 2000;
/** Short, because writes of a partition wait while its switch is half done. */
const MOVES_EVERY_MS = 1000;
const PURGE_EVERY_MS = 3_600_000;

export interface Chore {
  readonly everyMs: number;
  readonly run: () => Promise<unknown>;
}

interface ChoreParts {
  readonly shards: Shards;
  /** A `failFast` connection to the queue's Redis. */
  readonly queue: Redis;
  readonly lanes: Lanes;
  readonly config: Config;
  readonly log: Logger;
}

/** The recurring chores by name. */
export function choresOf(
  { shards, queue, lanes, config, log }: ChoreParts,
  copies: CopySweep,
  rows: RowSweep,
): Readonly<Record<string, Chore>> {
  const orphanAge = () => orphanAgeUs(queue, lanes.home, config.enqueueTimeoutMs);
  const filters = lanes.keys.map((_, partition) => new FilterSource(shards, queue, lanes, partition, log));
  return {
    fold: { everyMs: config.foldEveryMs, run: () => shards.each(({ pool }) => foldDeltas(pool)) },
    orphans: {
      everyMs: SWEEP_CHUNKS_EVERY_MS,
      run: async () => {
        const age = await orphanAge();
        for (const keys of lanes.keys) await sweepOrphanedChunks(queue, keys, age);
      },
    },
    sweep: {
      everyMs: SWEEP_EVERY_MS,
      run: async () => {
        const age = await orphanAge();
        for (const keys of lanes.keys) {
          await sweepOrphans(queue, keys, age);
          await sweepBytes(queue, keys);
        }
      },
    },
    purge: {
      everyMs: PURGE_EVERY_MS,
      run: async () => {
        const horizon = (Date.now() - config.purgeAfterMs) * 1000;
        await shards.each(async ({ pool }) => {
          await purgeTombstones(pool, horizon);
          await purgeRanges(pool, horizon);
        });
      },
    },
    // With one shard nothing can move.
    ...(shards.isOne ? {} : { moves: { everyMs: MOVES_EVERY_MS, run: () => endSwitch(shards) } }),
    copies: { everyMs: SWEEP_STEP_MS, run: () => copies.step() },
    rows: { everyMs: ROW_STEP_MS, run: () => rows.step() },
    filter: {
      everyMs: config.filterSnapshotEveryMs,
      run: async () => {
        if (config.filterMaxBytes === 0) return;
        for (const filter of filters) {
          await filter.refresh(config.filterMaxBytes / lanes.count).catch(unlessMoving);
        }
      },
    },
  };
}

/** Nothing is stored of a partition that is being moved. The next turn comes when it has arrived. */
function unlessMoving(error: unknown): void {
  if (!(error instanceof PartitionMovedError)) throw error;
}

/** Hears how the sweep goes; it must not throw. */
interface RowSweepObserver {
  /** Rows whose digests were made again in this step, and what was wrong with some of them. */
  rowsVerified(rows: number, faults: readonly RowFault[]): void;
}

/**
 * A step is one statement of 2,000 rows a shard, which takes some 20 ms and as long to digest: 17 million rows a day for less than
 * a hundredth of a core. What is to be checked at once is up to `tierline merkle verify --content`.
 */
const ROW_STEP_MS = 10_000;

interface RowSweepParts {
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
