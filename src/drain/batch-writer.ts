import { randomUUID } from 'node:crypto';
import { retrying } from '../batch/backoff.ts';
import { foldOps, opsOf, type Chunk, type Op, type Row } from '../batch/fold.ts';
import { stampToMs, type Stamp } from '../clock.ts';
import type { Config } from '../config.ts';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import type { Digester } from '../merkle/digest.ts';
import { applyRows, type RowNow } from '../postgres/apply-batch.ts';
import { failureKind, type Pool } from '../postgres/pool.ts';
import { highestStamp, readRows } from '../postgres/read-items.ts';
import { raiseClock } from '../redis/clock.ts';
import type { Redis } from '../redis/connect.ts';
import type { ItemStore } from '../redis/item-store.ts';
import { settleBatch } from '../redis/settle.ts';
import type { FeedChanges, FeedJobs } from '../schema/feed.ts';
import { copyOfRow, copyOfStored } from './copies.ts';
import type { BatchWritten, DrainObserver } from './drain-observer.ts';
import { applyIsolating, unitsOf, type Isolated } from './isolate.ts';
import { feedJobs } from './outcome.ts';

export interface WriterParts {
  readonly pool: Pool;
  readonly queue: Redis;
  readonly items: ItemStore;
  readonly keys: Keys;
  readonly digester: Digester;
  readonly config: Config;
  readonly log: Logger;
  readonly observer: DrainObserver;
  /** Aborted when the process must stop even though a backend is away: retries end. */
  readonly signal: AbortSignal;
}

/**
 * Writes one batch through all tiers: Postgres, then L2, then the feed and the clearing of what was in flight. Each step
 * is idempotent and waits for its backend as long as it takes, so a crash or an outage anywhere is a retry (I3, I8).
 */
export class BatchWriter {
  readonly #parts: WriterParts;

  constructor(parts: WriterParts) {
    this.#parts = parts;
  }

  async write(chunks: readonly Chunk[]): Promise<void> {
    const batchId = randomUUID();
    const ops = chunks.flatMap(opsOf);
    const durable = ops.filter((op) => op.route !== 'c');
    const cacheRows = this.#fold(ops.filter((op) => op.route === 'c'));

    const started = performance.now();
    const stored = await this.#persist('l3', () => this.#store(durable, batchId));
    const inPostgres = performance.now();
    const { rows } = stored;
    const cached = await this.#persist('l2', () => this.#copy(stored, cacheRows));
    const inRedis = performance.now();

    const result = {
      ops,
      rows: new Map(rows.map((row) => [row.id, row])),
      differing: stored.differing,
      cached: new Map(cacheRows.map((row, i) => [row.id, { row, stored: cached[i] === true }])),
      dead: stored.dead,
    };
    const settlement = {
      jobs: feedJobs(chunks, result),
      changes: changesOf(rows, stored.differing, cacheRows),
      settled: newestStamps(ops),
    };
    const { queue, keys, config } = this.#parts;
    const settled = await this.#persist('feed', () =>
      settleBatch(queue, keys, settlement, config.feedMaxEntries),
    );
    this.#parts.observer.batchWritten({
      ...countsOf(settlement.jobs),
      postgresMs: inPostgres - started,
      redisMs: inRedis - inPostgres,
      feedMs: performance.now() - inRedis,
      settleLatencyMs: chunks.map(({ job }) => settled.atMs - stampToMs(job.first)),
    });
    if (!settled.clockRaised) await this.#persist('clock', () => raiseAboveRows(this.#parts));
  }

  #fold(ops: readonly Op[]): Row[] {
    return foldOps(ops, this.#parts.digester);
  }

  /** One statement; only when Postgres refuses the data, the search for what it refuses. */
  async #store(ops: readonly Op[], batchId: string): Promise<Isolated> {
    const { pool, digester } = this.#parts;
    const rows = this.#fold(ops);
    if (rows.length === 0) return { rows, differing: new Map(), allNew: true, dead: new Map() };
    try {
      return { rows, ...(await applyRows(pool, rows, batchId)), dead: new Map() };
    } catch (error) {
      if (failureKind(error) !== 'data') throw error;
      return applyIsolating(pool, unitsOf(ops), batchId, digester);
    }
  }

  /** L2 copies of every row this batch shaped. Returns for each cache-only row whether L2 took it. */
  async #copy({ rows, differing, allNew }: Isolated, cacheRows: readonly Row[]): Promise<boolean[]> {
    const { pool, items, digester, config } = this.#parts;
    const own = rows.filter((row) => ownsContent(row, differing.get(row.id)));
    const stateOnly = rows.filter((row) => ownsStateOnly(row, differing.get(row.id))).map((row) => row.id);
    const reread = stateOnly.length === 0 ? [] : await readRows(pool, stateOnly);
    const copies = [
      ...own.map((row) => copyOfRow(row, differing.get(row.id), digester, config)),
      ...reread.map((item) => copyOfStored(item, config)),
    ];
    const cacheCopies = cacheRows.map((row) => copyOfRow(row, undefined, digester, config));
    const taken = await items.setNewer([...copies, ...cacheCopies], allNew);
    return taken.slice(copies.length);
  }

  #persist<T>(step: string, work: () => Promise<T>): Promise<T> {
    const { log, signal, observer } = this.#parts;
    return retrying(work, {
      signal,
      isTransient: () => true,
      onRetry: (error, attempt, delayMs) => {
        log.warn({ err: error, step, attempt, delayMs }, 'batch step failed, trying again');
        observer.stepRetried(step);
      },
    });
  }
}

/** After Redis was emptied its clock restarts from the time of day; no stamp may lie below what Postgres has. */
export async function raiseAboveRows({
  pool,
  queue,
  keys,
}: Pick<WriterParts, 'pool' | 'queue' | 'keys'>): Promise<void> {
  await raiseClock(queue, keys, Math.max(1, await highestStamp(pool)));
}

function ownsContent(row: Row, now: RowNow | undefined): boolean {
  return now === undefined || (row.contentVersion > 0 && now.contentVersion === row.contentVersion);
}

function ownsStateOnly(row: Row, now: RowNow | undefined): boolean {
  return (
    now !== undefined &&
    !ownsContent(row, now) &&
    row.stateVersion > 0 &&
    now.stateVersion === row.stateVersion
  );
}

function changesOf(
  rows: readonly Row[],
  differing: ReadonlyMap<string, RowNow>,
  cacheRows: readonly Row[],
): FeedChanges {
  const now = rows.map((row) => differing.get(row.id) ?? row);
  const all = [...now, ...cacheRows];
  const kinds = now.map((row) => (row.deleted ? 'd' : 'p')).join('') + 'c'.repeat(cacheRows.length);
  const stateful = all.some((row) => row.stateVersion > 0);
  return {
    ids: all.map((row) => row.id),
    cv: all.map((row) => row.contentVersion),
    ...(stateful ? { sv: all.map((row) => row.stateVersion) } : {}),
    kinds,
  };
}

function countsOf(
  jobs: FeedJobs,
): Pick<BatchWritten, 'chunks' | 'items' | 'superseded' | 'missing' | 'dead'> {
  const counts = { chunks: jobs.length, items: 0, superseded: 0, missing: 0, dead: 0 };
  for (const [, items, exceptions] of jobs) {
    counts.items += items;
    for (const [, status] of exceptions) {
      if (status === 'superseded' || status === 'missing' || status === 'dead') counts[status]++;
    }
  }
  return counts;
}

function newestStamps(ops: readonly Op[]): Map<string, Stamp> {
  const newest = new Map<string, Stamp>();
  for (const op of ops) {
    if (op.stamp > (newest.get(op.id) ?? 0)) newest.set(op.id, op.stamp);
  }
  return newest;
}
