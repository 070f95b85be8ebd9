import { randomUUID } from 'node:crypto';
import { type Chunk, foldOps, newestStamps, type Op, opsOf, type Row } from '../batch/fold.ts';
import { type Stamp, stampToMs } from '../clock.ts';
import { applyRows, NONE_APPLIED } from '../postgres/apply-batch.ts';
import { failureKind } from '../postgres/pool.ts';
import { sweptAmong } from '../redis/chunk-notes.ts';
import { recordSettled } from '../redis/history.ts';
import { type Barrier, earlierWork, type NotedChunk, type OpenRange } from '../redis/in-flight.ts';
import { type FeedJob, toFeedChanges } from '../schema/feed.ts';
import { isReplay, kindAt, setsState } from '../schema/job.ts';
import type { Look } from '../tiers/tier.ts';
import { copyAndSettle, copyRows } from './copy-writer.ts';
import { countOutcomes, feedJobs } from './outcome.ts';
import { applyIsolating, type StoredBatch, refuseLate, unitsOf } from './refusals.ts';
import { untilDone, type WriterParts } from './writer-parts.ts';

/** With a barrier, something with an earlier stamp must settle first. Then the chunk is written again. */
export type ChunkFate = 'settled' | Barrier;

interface SplitChunks {
  /** The chunks to write, in the order given. */
  readonly chunks: readonly Chunk[];
  /** Those of them that set states while an earlier write, which may bring the item, has not settled. */
  readonly early: ReadonlySet<Chunk>;
  /** Chunks that set states and must wait for an earlier range delete, with its barrier. */
  readonly blocked: ReadonlyMap<Chunk, Barrier>;
}

/** What is written together. */
interface Batch extends Pick<SplitChunks, 'chunks' | 'early'> {
  readonly ops: readonly Op[];
  /** The operations that go to Postgres, and the rows they make. */
  readonly durable: readonly Op[];
  readonly durableRows: Row[];
  /** The rows of the other operations, which go to L2 alone. */
  readonly cacheRows: readonly Row[];
}

/**
 * Writes one batch through all tiers: first Postgres, then L2, then the change feed; that last step also clears the notes of
 * the chunks. Each step is idempotent and waits for its backend as long as it takes. After a crash or an outage it is repeated
 * (I3, I8).
 */
export class BatchWriter {
  readonly #parts: WriterParts;

  constructor(parts: WriterParts) {
    this.#parts = parts;
  }

  /** Returns the fate of each chunk. */
  async write(given: readonly Chunk[]): Promise<ChunkFate[]> {
    // Ask while the rows are folded, which hides the round trip. The answer is awaited before anything is written.
    const asking = this.#swept(given);
    asking.catch(() => undefined);
    const { chunks, early, blocked } = await this.#split(given);
    const ops = chunks.flatMap(opsOf);
    const durable = ops.filter((op) => op.tiers !== 'cache');
    const durableRows = this.#fold(durable);
    const cacheRows = this.#fold(ops.filter((op) => op.tiers === 'cache'));
    const swept = await asking;
    if (swept.size > 0) return this.#refuseSwept(swept, given);
    if (chunks.length === 0) return given.map((chunk) => blocked.get(chunk) as Barrier);

    const settled = await this.#writeThrough({ chunks, early, ops, durable, durableRows, cacheRows });
    return given.map((chunk) =>
      // A chunk that did not end waits for all chunks with earlier stamps: one of them may bring its item.
      settled.has(chunk) ? 'settled' : (blocked.get(chunk) ?? { chunks: chunk.job.first, ranges: 0 }),
    );
  }

  /** Returns the chunks that have settled. */
  async #writeThrough(batch: Batch): Promise<ReadonlySet<Chunk>> {
    const batchId = randomUUID();
    const started = performance.now();
    let look: Look | undefined;
    const stored = await untilDone(this.#parts, 'l3', () => {
      look = this.#parts.items.look();
      return this.#store(batch.durableRows, batch.durable, batchId);
    });
    const inPostgres = performance.now();
    let inRedis = inPostgres;
    let ended: EndedChunks = { chunks: [], jobs: [] };
    const settledAtMs = await copyAndSettle(
      this.#parts,
      (isFirst) => copyRows(this.#parts, isFirst ? look : undefined, stored, batch.cacheRows),
      ({ superseded }) => {
        inRedis = performance.now();
        ended = endedChunks(batch, stored, superseded);
        const rows = stored.rows.map((row) => stored.differing.get(row.id) ?? row);
        const isWhole = ended.chunks.length === batch.chunks.length;
        return {
          jobs: ended.jobs,
          changes: toFeedChanges(rows, batch.cacheRows, stored.decided),
          newest: newestStamps(isWhole ? batch.ops : ended.chunks.flatMap(opsOf)),
        };
      },
    );
    recordSettled(this.#parts, settledAtMs, ended.chunks);
    this.#parts.observer.batchWritten({
      chunks: ended.chunks.length,
      outcomes: countOutcomes(ended.jobs),
      postgresMs: inPostgres - started,
      redisMs: inRedis - inPostgres,
      feedMs: performance.now() - inRedis,
      // A replayed dead letter has an old stamp: its age is no latency.
      settleLatencyMs: ended.chunks
        .filter(({ chunkId }) => !isReplay(chunkId))
        .map(({ job }) => settledAtMs - stampToMs(job.first)),
    });
    return new Set(ended.chunks);
  }

  /** The chunks whose submits were refused, and their notes swept, before their jobs arrived. */
  #swept(chunks: readonly Chunk[]): Promise<ReadonlySet<string>> {
    const { queue, keys } = this.#parts;
    const ids = chunks.map((chunk) => chunk.chunkId);
    return untilDone(this.#parts, 'late', () => sweptAmong(queue, keys, ids));
  }

  /** Refuses the chunks that were swept and writes the others. */
  async #refuseSwept(swept: ReadonlySet<string>, given: readonly Chunk[]): Promise<ChunkFate[]> {
    const isSwept = ({ chunkId }: Chunk) => swept.has(chunkId);
    await refuseLate(this.#parts, given.filter(isSwept));
    const others = given.filter((chunk) => !isSwept(chunk));
    const fates = others.length === 0 ? [] : await this.write(others);
    return given.map((chunk) => fates[others.indexOf(chunk)] ?? 'settled');
  }

  /**
   * Which of these chunks can be written now. It asks before anything is stored: an earlier write may settle between our
   * statement and a question asked after it.
   */
  async #split(given: readonly Chunk[]): Promise<SplitChunks> {
    const { queue, keys } = this.#parts;
    const early = new Set<Chunk>();
    const blocked = new Map<Chunk, Barrier>();
    const setting = given.filter(({ job }) => setsState(job));
    if (setting.length === 0) return { chunks: given, early, blocked };
    const earlier = await untilDone(this.#parts, 'earlier', () =>
      earlierWork(queue, keys, setting.map(notedChunk), given.map(notedChunk)),
    );
    const ranges = new OpenRanges(earlier.ranges);
    for (const chunk of setting) {
      const range = ranges.blocking(chunk);
      if (range !== undefined) blocked.set(chunk, { chunks: 0, ranges: range + 1 });
    }
    const chunks = given.filter((chunk) => !blocked.has(chunk));
    // Chunks of this batch are written together, so none of them waits for another.
    const together = new Map(
      given.flatMap((chunk, i) => (blocked.has(chunk) ? [] : [[chunk.chunkId, earlier.placed[i]]])),
    );
    setting.forEach((chunk, i) => {
      const known = [...together.values()].filter((stamp) => stamp != null && stamp < chunk.job.first).length;
      if ((earlier.chunksBefore[i] ?? 0) > known) early.add(chunk);
    });
    return { chunks, early, blocked };
  }

  #fold(ops: readonly Op[]): Row[] {
    return foldOps(ops, this.#parts.digester);
  }

  /** Writes the rows in one statement. When Postgres refuses the data, it looks for the operations that it refuses. */
  async #store(rows: Row[], ops: readonly Op[], batchId: string): Promise<StoredBatch> {
    const { partition, digester } = this.#parts;
    if (rows.length === 0) return { rows, ...NONE_APPLIED, dead: new Map() };
    try {
      const applied = await partition.write((db) => applyRows(db, rows, batchId));
      return { rows, ...applied, dead: new Map() };
    } catch (error) {
      if (failureKind(error) !== 'data') throw error;
      return applyIsolating(partition, unitsOf(ops), batchId, digester);
    }
  }
}

/** The chunks of a batch that end with it, and what became of each. */
interface EndedChunks {
  readonly chunks: readonly Chunk[];
  readonly jobs: readonly FeedJob[];
}

/** A setState that found no item is left out while an earlier write may bring it: it is tried again once that has settled. */
function endedChunks(
  { chunks, early, ops, cacheRows }: Batch,
  { rows, differing, dead }: StoredBatch,
  superseded: readonly boolean[],
): EndedChunks {
  const jobs = feedJobs(chunks, {
    ops,
    rows: new Map(rows.map((row) => [row.id, row])),
    differing,
    cached: new Map(cacheRows.map((row, i) => [row.id, { row, stored: superseded[i] !== true }])),
    dead,
  });
  const ends = chunks.map((chunk, i) => !(early.has(chunk) && foundNothing(jobs[i] as FeedJob)));
  return { chunks: chunks.filter((_, i) => ends[i]), jobs: jobs.filter((_, i) => ends[i]) };
}

function foundNothing({ outcome }: FeedJob): boolean {
  return outcome.exceptions?.some(({ status }) => status === 'missing') === true;
}

function notedChunk({ chunkId, job }: Chunk): NotedChunk {
  return { chunkId, first: job.first };
}

/** The range deletes that have not settled. Tells which of them a chunk that sets states must wait for. */
export class OpenRanges {
  readonly #states: Stamp[] = [];
  readonly #prefixes = new Map<string, Stamp[]>();
  /** Lengths of the prefixes. An id is looked up once for each length, however many prefixes there are. */
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
   * The newest earlier range delete that the chunk must wait for; undefined when there is none. A range delete of a state looks
   * at the state an item had at its stamp, and a newer state would hide it. A range delete of a prefix counts when it covers an
   * id whose state is set: only afterwards is it known whether that item is missing.
   */
  blocking({ job }: Chunk): Stamp | undefined {
    let newest: Stamp | undefined;
    const consider = (stamps: readonly Stamp[]) => {
      for (const stamp of stamps) if (stamp < job.first && stamp > (newest ?? 0)) newest = stamp;
    };
    consider(this.#states);
    job.ids.forEach((id, i) => {
      if (kindAt(job, i) !== 'setState') return;
      for (const length of this.#lengths) consider(this.#prefixes.get(id.slice(0, length)) ?? []);
    });
    return newest;
  }
}
