import { randomUUID } from 'node:crypto';
import { type Chunk, foldOps, newestStamps, type Op, opsOf, type Row } from '../batch/fold.ts';
import { type Stamp, stampToMs } from '../clock.ts';
import { applyRows } from '../postgres/apply-batch.ts';
import { failureKind } from '../postgres/pool.ts';
import { sweptAmong } from '../redis/chunk-notes.ts';
import { recordSettled } from '../redis/history.ts';
import { type Barrier, earlierWork, type NotedChunk, type OpenRange } from '../redis/in-flight.ts';
import { type FeedJob, toFeedChanges } from '../schema/feed.ts';
import { isReplay, setsState } from '../schema/job.ts';
import type { Look } from '../tiers/tier.ts';
import { copyAndSettle, copyRows } from './copy-writer.ts';
import { countOutcomes, feedJobs } from './outcome.ts';
import { applyIsolating, type Isolated, refuseLate, unitsOf } from './refusals.ts';
import { persist, type WriterParts } from './writer-parts.ts';

/** A barrier: something with an earlier stamp must settle first, then the chunk is to be written again. */
export type ChunkFate = 'settled' | Barrier;

interface SortedChunks {
  /** Those to be written, in the order given. */
  readonly chunks: readonly Chunk[];
  readonly hurried: ReadonlySet<Chunk>;
  readonly blocked: ReadonlyMap<Chunk, Barrier>;
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

  /** Returns the fate of each chunk. */
  async write(given: readonly Chunk[]): Promise<ChunkFate[]> {
    // Asked while the rows are folded, so that it takes no time of its own; awaited before anything is written.
    const asking = this.#late(given);
    asking.catch(() => undefined);
    const { chunks, hurried, blocked } = await this.#sort(given);
    const batchId = randomUUID();
    const ops = chunks.flatMap(opsOf);
    const durable = ops.filter((op) => op.tiers !== 'cache');
    const durableRows = this.#fold(durable);
    const cacheRows = this.#fold(ops.filter((op) => op.tiers === 'cache'));
    const late = await asking;
    if (late.size > 0) return this.#writeWithout(late, given);
    if (chunks.length === 0) return given.map((chunk) => blocked.get(chunk) as Barrier);

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
    let settledJobs: readonly FeedJob[] = [];
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
              hurried.has(chunk) &&
              jobs[i]?.outcome.exceptions?.some(({ status }) => status === 'missing') === true,
          ),
        );
        settling = chunks.filter((chunk) => !premature.has(chunk));
        settledJobs = jobs.filter((_, i) => !premature.has(chunks[i] as Chunk));
        return {
          jobs: settledJobs,
          changes: toFeedChanges(
            rows.map((row) => stored.differing.get(row.id) ?? row),
            cacheRows,
          ),
          settled: newestStamps(premature.size === 0 ? ops : settling.flatMap(opsOf)),
        };
      },
    );
    recordSettled(this.#parts, settledAtMs, settling);
    this.#parts.observer.batchWritten({
      chunks: settledJobs.length,
      outcomes: countOutcomes(settledJobs),
      postgresMs: inPostgres - started,
      redisMs: inRedis - inPostgres,
      feedMs: performance.now() - inRedis,
      // A replayed dead letter has the stamp of long ago: its age is no latency.
      settleLatencyMs: settling
        .filter(({ chunkId }) => !isReplay(chunkId))
        .map(({ job }) => settledAtMs - stampToMs(job.first)),
    });
    const settled = new Set(settling);
    return given.map((chunk) =>
      settled.has(chunk) ? 'settled' : (blocked.get(chunk) ?? { chunks: chunk.job.first, ranges: 0 }),
    );
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
   * Which of these chunks can be written now. `blocked`: chunks that set states and must wait for an earlier range delete,
   * with its barrier. `hurried`: those that set states while an earlier write, which may bring the item, is on its way. Asked
   * before anything is stored: that write may come to its end between our statement and a question asked after it.
   */
  async #sort(given: readonly Chunk[]): Promise<SortedChunks> {
    const { queue, keys } = this.#parts;
    const hurried = new Set<Chunk>();
    const blocked = new Map<Chunk, Barrier>();
    const setting = given.filter(({ job }) => setsState(job));
    if (setting.length === 0) return { chunks: given, hurried, blocked };
    const earlier = await persist(this.#parts, 'earlier', () =>
      earlierWork(queue, keys, setting.map(notedChunk), given.map(notedChunk)),
    );
    const ranges = new OpenRanges(earlier.ranges);
    for (const chunk of setting) {
      const range = ranges.blocking(chunk);
      if (range !== undefined) blocked.set(chunk, { chunks: 0, ranges: range + 1 });
    }
    const chunks = given.filter((chunk) => !blocked.has(chunk));
    // What is written together with a chunk is not on its way any more.
    const together = new Map(
      given.flatMap((chunk, i) => (blocked.has(chunk) ? [] : [[chunk.chunkId, earlier.placed[i]]])),
    );
    setting.forEach((chunk, i) => {
      const known = [...together.values()].filter((stamp) => stamp != null && stamp < chunk.job.first).length;
      if ((earlier.chunksBefore[i] ?? 0) > known) hurried.add(chunk);
    });
    return { chunks, hurried, blocked };
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

function notedChunk({ chunkId, job }: Chunk): NotedChunk {
  return { chunkId, first: job.first };
}

/** The range deletes in flight, asked which of them a chunk that sets states must wait for. */
export class OpenRanges {
  readonly #states: Stamp[] = [];
  readonly #prefixes = new Map<string, Stamp[]>();
  /** Lengths of the prefixes: an id is looked up once a length, however many prefixes there are. */
  readonly #lengths = new Set<number>();

  constructor(ranges: readonly OpenRange[]) {
    for (const { kind, value, stamp } of ranges) {
      if (kind === 'state') {
        this.#states.push(stamp);
        continue;
      }
      this.#lengths.add(value.length);
      const stamps = this.#prefixes.get(value);
      if (stamps === undefined) this.#prefixes.set(value, [stamp]);
      else stamps.push(stamp);
    }
  }

  /**
   * The newest earlier range delete that the chunk must wait for; undefined when there is none. One of a state looks at
   * the state an item had at its stamp, which a newer state would hide. One of a prefix counts when it covers an id
   * whose state is set: whether that item is missing is known afterwards.
   */
  blocking({ job: { first, ids, kinds } }: Chunk): Stamp | undefined {
    let newest: Stamp | undefined;
    const consider = (stamps: readonly Stamp[]) => {
      for (const stamp of stamps) if (stamp < first && stamp > (newest ?? 0)) newest = stamp;
    };
    consider(this.#states);
    ids.forEach((id, i) => {
      if (kinds[i] !== 's') return;
      for (const length of this.#lengths) consider(this.#prefixes.get(id.slice(0, length)) ?? []);
    });
    return newest;
  }
}
