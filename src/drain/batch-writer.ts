import { randomUUID } from 'node:crypto';
import { foldOps, newestStamps, opsOf, type Chunk, type Op, type Row } from '../batch/fold.ts';
import { stampToMs } from '../clock.ts';
import { applyRows } from '../postgres/apply-batch.ts';
import { failureKind } from '../postgres/pool.ts';
import type { Look } from '../redis/cache-session.ts';
import { sweptAmong } from '../redis/orphans.ts';
import { hasRangeBefore, unsettledBefore } from '../redis/pending.ts';
import { recordSettled } from '../redis/series.ts';
import type { FeedJobs } from '../schema/feed.ts';
import { isReplay } from '../schema/job.ts';
import { changesOf } from './changes.ts';
import { copyAndSettle, copyRows } from './copy-writer.ts';
import type { BatchWritten } from './drain-observer.ts';
import { applyIsolating, unitsOf, type Isolated } from './isolate.ts';
import { feedJobs } from './outcome.ts';
import { refuseLate } from './refused-jobs.ts';
import { persist, type WriterParts } from './writer-parts.ts';

/** `deferred`: something with an earlier stamp must come first; the chunk is to be written again in a moment. */
export type ChunkFate = 'settled' | 'deferred';

/**
 * Writes one batch through all tiers: Postgres, then L2, then the feed and the clearing of what was in flight. Each step
 * is idempotent and waits for its backend as long as it takes, so a crash or an outage anywhere is a retry (I3, I8).
 */
export class BatchWriter {
  readonly #parts: WriterParts;

  constructor(parts: WriterParts) {
    this.#parts = parts;
  }

  /** Returns the fate of each chunk. */
  async write(given: readonly Chunk[]): Promise<ChunkFate[]> {
    // Asked while the rows are folded, so that it takes no time of its own; awaited before anything is written.
    const asking = this.#late(given);
    asking.catch(() => undefined);
    const chunks = await this.#writable(given);
    const hurried = await this.#beforeEarlierWrites(chunks);
    const batchId = randomUUID();
    const ops = chunks.flatMap(opsOf);
    const durable = ops.filter((op) => op.route !== 'c');
    const durableRows = this.#fold(durable);
    const cacheRows = this.#fold(ops.filter((op) => op.route === 'c'));
    const late = await asking;
    if (late.size > 0) return this.#writeWithout(late, given);

    const started = performance.now();
    let look: Look | undefined;
    const stored = await persist(this.#parts, 'l3', () => {
      look = this.#parts.items.look();
      return this.#store(durableRows, durable, batchId);
    });
    const inPostgres = performance.now();
    const { rows } = stored;
    let inRedis = inPostgres;
    let settling: Chunk[] = [];
    let settledJobs: FeedJobs = [];
    const settledAtMs = await copyAndSettle(
      this.#parts,
      (isFirst) => copyRows(this.#parts, isFirst ? look : undefined, stored, cacheRows),
      ({ superseded }) => {
        inRedis = performance.now();
        const jobs = feedJobs(chunks, {
          ops,
          rows: new Map(rows.map((row) => [row.id, row])),
          differing: stored.differing,
          cached: new Map(cacheRows.map((row, i) => [row.id, { row, stored: superseded[i] !== true }])),
          dead: stored.dead,
        });
        // What looked for an item that an earlier write may bring is written again, once that write has settled.
        const premature = new Set(
          chunks.filter(
            (chunk, i) =>
              hurried.has(chunk) && jobs[i]?.[2].some(([, status]) => status === 'missing') === true,
          ),
        );
        settling = chunks.filter((chunk) => !premature.has(chunk));
        settledJobs = jobs.filter((_, i) => !premature.has(chunks[i] as Chunk));
        return {
          jobs: settledJobs,
          changes: changesOf(rows, stored.differing, cacheRows),
          settled: newestStamps(premature.size === 0 ? ops : settling.flatMap(opsOf)),
        };
      },
    );
    recordSettled(this.#parts, settledAtMs, settling);
    this.#parts.observer.batchWritten({
      ...countsOf(settledJobs),
      postgresMs: inPostgres - started,
      redisMs: inRedis - inPostgres,
      feedMs: performance.now() - inRedis,
      // A replayed dead letter has the stamp of long ago: its age is no latency.
      settleLatencyMs: settling
        .filter(({ chunkId }) => !isReplay(chunkId))
        .map(({ job }) => settledAtMs - stampToMs(job.first)),
    });
    const settled = new Set(settling);
    return given.map((chunk) => (settled.has(chunk) ? 'settled' : 'deferred'));
  }

  /** The chunks whose submits were refused before their jobs arrived. */
  #late(chunks: readonly Chunk[]): Promise<ReadonlySet<string>> {
    const { queue, keys } = this.#parts;
    const ids = chunks.map((chunk) => chunk.chunkId);
    return persist(this.#parts, 'late', () => sweptAmong(queue, keys, ids));
  }

  async #writeWithout(late: ReadonlySet<string>, given: readonly Chunk[]): Promise<ChunkFate[]> {
    const isLate = ({ chunkId }: Chunk) => late.has(chunkId);
    await refuseLate(this.#parts, given.filter(isLate));
    const others = given.filter((chunk) => !isLate(chunk));
    const fates = others.length === 0 ? [] : await this.write(others);
    return given.map((chunk) => fates[others.indexOf(chunk)] ?? 'settled');
  }

  /**
   * Without the chunks that set states while an earlier range delete is under way: that one looks at the state an item
   * had at its stamp, which a newer state would hide.
   */
  async #writable(chunks: readonly Chunk[]): Promise<Chunk[]> {
    const { queue, keys } = this.#parts;
    const writable: Chunk[] = [];
    for (const chunk of chunks) {
      const waits =
        setsState(chunk) &&
        (await persist(this.#parts, 'ranges', () => hasRangeBefore(queue, keys, chunk.job.first)));
      if (!waits) writable.push(chunk);
    }
    return writable;
  }

  /**
   * Chunks that set states while an earlier write, which may bring the item, is still on its way. Asked before anything is
   * stored: that write may come to its end between our statement and a question asked after it.
   */
  async #beforeEarlierWrites(chunks: readonly Chunk[]): Promise<Set<Chunk>> {
    const { queue, keys } = this.#parts;
    const hurried = new Set<Chunk>();
    const written = chunks.map((chunk) => chunk.chunkId);
    for (const chunk of chunks) {
      if (!setsState(chunk)) continue;
      const earlier = await persist(this.#parts, 'earlier', () =>
        unsettledBefore(queue, keys, chunk.job.first, written),
      );
      if (earlier > 0) hurried.add(chunk);
    }
    return hurried;
  }

  #fold(ops: readonly Op[]): Row[] {
    return foldOps(ops, this.#parts.digester);
  }

  /** One statement; only when Postgres refuses the data, the search for what it refuses. */
  async #store(rows: Row[], ops: readonly Op[], batchId: string): Promise<Isolated> {
    const { pool, digester } = this.#parts;
    if (rows.length === 0) return { rows, differing: new Map(), allNew: true, dead: new Map() };
    try {
      return { rows, ...(await applyRows(pool, rows, batchId)), dead: new Map() };
    } catch (error) {
      if (failureKind(error) !== 'data') throw error;
      return applyIsolating(pool, unitsOf(ops), batchId, digester);
    }
  }
}

function setsState(chunk: Chunk): boolean {
  return chunk.job.kinds.includes('s');
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
