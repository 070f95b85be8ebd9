import { emptyRow, sealed } from '../batch/fold.ts';
import { messageOf } from '../errors.ts';
import { failureKind } from '../postgres/pool.ts';
import {
  beginRange,
  byIndexOnly,
  type LaneRange,
  lockOrBeginRange,
  lockRange,
  moveRange,
  nextRangeIds,
  overwrittenIds,
  type RangePlace,
  type RangeProgress,
} from '../postgres/range-deletes.ts';
import { readRows } from '../postgres/read-items.ts';
import { othersBefore } from '../redis/in-flight.ts';
import { type FeedJob, NO_CHANGES, toFeedChanges } from '../schema/feed.ts';
import type { Look } from '../tiers/tier.ts';
import { DEFAULT_STATE } from '../schema/item.ts';
import type { RangeJob } from '../schema/job.ts';
import { copyAndSettle, copyRows, copyStoredRows, type WrittenRows } from './copy-writer.ts';
import { overwriteRange, overwriteRangeIsolating, type RangeRows } from './range-overwrite.ts';
import { untilDone, settle, type WriterParts } from './writer-parts.ts';

/** Rows of one transaction. Fewer would cost round trips, more would hold locks for long. */
const BATCH_ROWS = 2000;

export interface RangeReport {
  readonly phase: RangeProgress['phase'];
  readonly deleted: number;
}

export interface RangeRun {
  readonly rangeId: string;
  readonly job: LaneRange;
  readonly report: (progress: RangeReport) => Promise<void>;
}

/**
 * `earlier`: something with an earlier stamp has not settled. `stopped`: the process is to end. `refused`: what Postgres said when
 * it refused the range delete as a whole; another try would end the same.
 */
export type RangeEnd = 'done' | 'earlier' | 'stopped' | { readonly refused: string };

/** A range delete that has been begun. `progress` is undefined when it was begun before. */
interface Begun {
  readonly run: RangeRun;
  readonly progress: RangeProgress | undefined;
}

/** The rows after one place, ready to be written. */
interface Page extends RangeRows {
  readonly place: RangePlace;
}

/** What one transaction did. */
interface Step {
  readonly progress: RangeProgress;
  readonly rows: WrittenRows;
  /** Taken before the rows were written. */
  readonly look: Look | undefined;
}

/**
 * Deletes a prefix or a state as of one stamp, in any number of rows, with a few batches of them in memory. It begins once
 * everything with an earlier stamp has settled, so every row that it must see is in Postgres. Writes with later stamps may come
 * before, between or after its batches: registers that they wrote stay as they are. Each batch records its progress in its own
 * transaction. After a crash the range delete continues there and the count stays exact. While Postgres writes one batch, the
 * next is read and hashed, and the copies of the previous one are written to L2.
 */
export class RangeDelete {
  readonly #parts: WriterParts;
  #stopping = false;

  constructor(parts: WriterParts) {
    this.#parts = parts;
  }

  /** Ends the run that is under way after its current batch. */
  stop(): void {
    this.#stopping = true;
  }

  /** As `runAll`, of one. */
  async run(rangeId: string, job: LaneRange, report: RangeRun['report']): Promise<RangeEnd> {
    const [end] = await this.runAll([{ rangeId, job, report }]);
    return end as RangeEnd;
  }

  /**
   * Runs range deletes in the order of their stamps. Those that find nothing to delete share one transaction and settle
   * together. The first that finds something is run, and all after it end as `earlier`. One that Postgres refuses changes nothing
   * for the others (I9).
   * @returns the end of each
   */
  async runAll(runs: readonly RangeRun[]): Promise<RangeEnd[]> {
    const ends = new Map<RangeRun, RangeEnd>();
    const ready = await this.#ready(runs.toSorted((a, b) => a.job.stamp - b.job.stamp));
    const begun = await this.#beginAll(ready, ends);
    const empty = begun.filter(isEmpty);
    if (empty.length > 0) await this.#settle(empty.map(({ run, progress }) => outcomeOf(run, progress)));
    for (const { run } of empty) ends.set(run, 'done');
    const next = begun.find((one) => !isEmpty(one));
    if (next !== undefined && !this.#stopping) {
      ends.set(next.run, await this.#delete(next).catch(refusedOrThrow));
    }
    return runs.map((run) => ends.get(run) ?? (this.#stopping ? 'stopped' : 'earlier'));
  }

  /** The runs before the first one that must still wait for something with an earlier stamp. */
  async #ready(runs: readonly RangeRun[]): Promise<RangeRun[]> {
    const { queue, keys } = this.#parts;
    const ahead = await untilDone(this.#parts, 'barrier', () =>
      othersBefore(
        queue,
        keys,
        runs.map(({ rangeId, job }) => ({ chunkId: rangeId, first: job.stamp })),
      ),
    );
    const blocked = ahead.findIndex((others) => others > 0);
    return blocked === -1 ? [...runs] : runs.slice(0, blocked);
  }

  /** Begins those that find nothing to delete, and the first that does. @param ends is given those that Postgres refuses */
  async #beginAll(runs: readonly RangeRun[], ends: Map<RangeRun, RangeEnd>): Promise<Begun[]> {
    if (runs.length === 0) return [];
    try {
      return await this.#l3(() =>
        this.#parts.partition.transaction(async (db) => {
          const begun: Begun[] = [];
          for (const run of runs) {
            const progress = await beginRange(db, run.rangeId, run.job);
            begun.push({ run, progress });
            if (progress?.phase !== 'done') break;
          }
          return begun;
        }),
      );
    } catch (error) {
      const end = refusedOrThrow(error);
      if (runs.length === 1) {
        ends.set(runs[0] as RangeRun, end);
        return [];
      }
      // Halve them, so that only the bad ones are refused.
      const middle = runs.length >> 1;
      const begun = await this.#beginAll(runs.slice(0, middle), ends);
      if (!begun.every(isEmpty)) return begun;
      return [...begun, ...(await this.#beginAll(runs.slice(middle), ends))];
    }
  }

  async #delete({ run: { rangeId, job, report }, progress: fresh }: Begun): Promise<RangeEnd> {
    let progress = fresh ?? (await this.#l3(() => this.#resume(rangeId, job)));
    let page = this.#page(job, progress);
    let copying = Promise.resolve<string | undefined>(undefined);
    let copiedTo: string | undefined;
    while (progress.phase !== 'done') {
      const current = await page;
      page = this.#page(job, placeAfter(current, job));
      // The step records how far copies had come before it.
      const known = copiedTo;
      const step = await this.#l3(() => this.#step(rangeId, job, current, known, copying));
      copiedTo = await copying;
      if (step === undefined) {
        progress = await this.#l3(() => this.#resume(rangeId, job));
        page = this.#page(job, progress);
        // The copies of before say nothing about the place where it continues.
        copying = Promise.resolve(undefined);
        copiedTo = undefined;
        continue;
      }
      progress = step.progress;
      copying = this.#copy(step.rows, step.look).then(() => step.progress.afterId);
      copying.catch(() => undefined);
      await report({ phase: progress.phase, deleted: progress.deleted });
      if (this.#stopping) break;
    }
    await copying;
    if (progress.phase !== 'done') return 'stopped';
    await this.#settle([outcomeOf({ rangeId }, progress)]);
    return 'done';
  }

  /**
   * The progress of a range that was begun before. Rows whose deletion was perhaps not announced on the feed are announced
   * again.
   */
  async #resume(rangeId: string, job: LaneRange): Promise<RangeProgress> {
    const { partition } = this.#parts;
    const progress = await partition.transaction((db) => lockOrBeginRange(db, rangeId, job));
    const ids = await partition.read((db) => overwrittenIds(db, job, progress));
    for (let at = 0; at < ids.length; at += BATCH_ROWS) {
      const part = ids.slice(at, at + BATCH_ROWS);
      const stored = await partition.read((db) => readRows(db, part));
      const rows = stored.map((item) => ({ ...item, deleted: item.kind === 'deleted' }));
      await copyAndSettle(
        this.#parts,
        () => copyStoredRows(this.#parts, part),
        () => ({ jobs: [], changes: toFeedChanges(rows, [], byId(rows)), newest: [] }),
      );
    }
    return progress;
  }

  /** Begins to read a page. A failure is reported when the page is awaited. */
  #page(job: LaneRange, place: RangePlace): Promise<Page> {
    const page = this.#l3(() => this.#read(job, place));
    page.catch(() => undefined);
    return page;
  }

  async #read(job: LaneRange, place: RangePlace): Promise<Page> {
    const { partition, digester } = this.#parts;
    const ids =
      place.phase === 'done'
        ? []
        : await partition.transaction(async (db) => {
            await byIndexOnly(db);
            return nextRangeIds(db, job, place, BATCH_ROWS);
          });
    return {
      place,
      rows: ids.map((id) => sealed({ ...emptyRow(id), contentVersion: job.stamp }, digester)),
      stateDigests: ids.map((id) => digester.state(id, job.stamp, DEFAULT_STATE)),
    };
  }

  /**
   * One batch of rows and the progress over it, in one transaction. Undefined when the range is at another place: another worker
   * has moved it on, or this one has and did not learn it, because the connection broke during COMMIT, or Postgres has lost it.
   */
  async #step(
    rangeId: string,
    job: LaneRange,
    page: Page,
    copiedTo: string | undefined,
    copying: Promise<unknown>,
  ): Promise<Step | undefined> {
    // Finish copying before the next phase starts. Do it outside the transaction: the pool may hold one connection.
    if (page.rows.length === 0) await copying;
    const look = this.#parts.items.look();
    const stepWith = (overwrite: typeof overwriteRange) =>
      this.#parts.partition.transaction(async (db): Promise<Step | undefined> => {
        await byIndexOnly(db);
        const progress = await lockRange(db, rangeId);
        if (progress?.phase !== page.place.phase || progress.afterId !== page.place.afterId) {
          return undefined;
        }
        const { died, refused, ...rows } = await overwrite(db, rangeId, job, page);
        const next = {
          ...placeAfter(page, job),
          deleted: progress.deleted + died,
          refused: progress.refused + refused,
          copiedTo: page.rows.length === 0 ? '' : (copiedTo ?? progress.copiedTo),
        };
        await moveRange(db, rangeId, next);
        return { progress: next, rows, look };
      });
    try {
      return await stepWith(overwriteRange);
    } catch (error) {
      if (failureKind(error) !== 'data') throw error;
      return stepWith(overwriteRangeIsolating);
    }
  }

  /** Writes the copies, then the feed, as for any batch. The range delete itself settles after its last batch. */
  async #copy(rows: WrittenRows, look: Look | undefined): Promise<void> {
    if (rows.rows.length === 0) return;
    const now = rows.rows.map((row) => rows.differing.get(row.id) ?? row);
    const changes = toFeedChanges(now, [], rows.differing);
    await copyAndSettle(
      this.#parts,
      (isFirst) => copyRows(this.#parts, isFirst ? look : undefined, rows),
      () => ({ jobs: [], changes, newest: [] }),
    );
  }

  async #settle(jobs: readonly FeedJob[]): Promise<void> {
    await settle(this.#parts, { jobs, changes: NO_CHANGES, newest: [] });
  }

  /** Retries while Postgres is away, but not when it refuses the data. */
  #l3<T>(work: () => Promise<T>): Promise<T> {
    return untilDone(this.#parts, 'l3', work, (error) => failureKind(error) !== 'data');
  }
}

/** Whether it found nothing to delete. */
function isEmpty({ progress }: Begun): boolean {
  return progress?.phase === 'done';
}

/** @throws the error itself when Postgres did not refuse the data */
function refusedOrThrow(error: unknown): Exclude<RangeEnd, string> {
  if (failureKind(error) !== 'data') throw error;
  return { refused: messageOf(error) };
}

function outcomeOf({ rangeId }: Pick<RangeRun, 'rangeId'>, progress: RangeProgress | undefined): FeedJob {
  const { deleted = 0, refused = 0 } = progress ?? {};
  return { chunkId: rangeId, operations: 1, outcome: { range: { deleted, dead: refused } } };
}

function byId<T extends { readonly id: string }>(rows: readonly T[]): Map<string, T> {
  return new Map(rows.map((row) => [row.id, row]));
}

function placeAfter({ place, rows }: Page, { kind }: RangeJob): RangePlace {
  const last = rows.at(-1);
  if (last !== undefined) return { phase: place.phase, afterId: last.id };
  return { phase: kind === 'state' && place.phase === 'dead' ? 'live' : 'done', afterId: '' };
}
