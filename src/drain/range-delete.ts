import { randomUUID } from 'node:crypto';
import { DEFAULT_STATE, emptyRow, sealed, type Row } from '../batch/fold.ts';
import { UNWRITTEN } from '../clock.ts';
import { applyRows } from '../postgres/apply-batch.ts';
import { inTransaction } from '../postgres/pool.ts';
import {
  lockRange,
  moveRange,
  nextRangeRows,
  overwrittenIds,
  type RangeProgress,
  type RangeRow,
} from '../postgres/range-deletes.ts';
import { readRows } from '../postgres/read-items.ts';
import { unsettledBefore } from '../redis/pending.ts';
import type { RangeJob } from '../schema/job.ts';
import { changesOf } from './changes.ts';
import { copyOfStored, copyRows, type WrittenRows } from './copies.ts';
import { persist, settle, type WriterParts } from './writer-parts.ts';

/** Rows of one transaction: enough to hide the round trips, few enough not to hold locks for long. */
const BATCH_ROWS = 2000;

export interface RangeReport {
  readonly phase: RangeProgress['phase'] | 'waiting';
  readonly deleted: number;
  readonly earlier: number;
}

interface Step {
  /** Nothing was left to do. */
  readonly finished: boolean;
  readonly progress: RangeProgress;
  readonly written: WrittenRows;
}

/**
 * Deletes a prefix or a state as of one stamp, in any number of rows, with a batch of them in memory.
 *
 * A barrier: it begins once nothing with an earlier stamp is in flight, so every row it has to see is there. What comes
 * with later stamps may come before, between or after its batches: registers written later stay as they are. Each batch
 * moves the progress on in its own transaction, so a crash in the middle resumes and the count stays exact.
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

  /** Returns `earlier` when something with an earlier stamp is still in flight, `stopped` when it was told to stop. */
  async run(
    rangeId: string,
    job: RangeJob,
    report: (progress: RangeReport) => Promise<void>,
  ): Promise<'done' | 'earlier' | 'stopped'> {
    const { queue, keys } = this.#parts;
    const earlier = await persist(this.#parts, 'barrier', () => unsettledBefore(queue, keys, job.stamp));
    if (earlier > 0) {
      await report({ phase: 'waiting', deleted: 0, earlier });
      return 'earlier';
    }
    await persist(this.#parts, 'l3', () => this.#copyAgain(rangeId, job));
    // The copies of one batch are written while Postgres works on the next.
    let copying = Promise.resolve<string | undefined>(undefined);
    let copiedTo: string | undefined;
    for (;;) {
      const known = copiedTo;
      const { progress, written, finished } = await persist(this.#parts, 'l3', () =>
        this.#step(rangeId, job, known, copying),
      );
      copiedTo = await copying;
      if (finished) {
        await this.#settle(rangeId, progress.deleted);
        return 'done';
      }
      copying = this.#copy(written).then(() => progress.afterId);
      await report({ phase: progress.phase, deleted: progress.deleted, earlier: 0 });
      if (this.#stopping) {
        await copying;
        return 'stopped';
      }
    }
  }

  /** What a run that was killed had deleted and perhaps not told. */
  async #copyAgain(rangeId: string, job: RangeJob): Promise<void> {
    const { pool, items, config } = this.#parts;
    const progress = await inTransaction(pool, (db) => lockRange(db, rangeId, job));
    const ids = await overwrittenIds(pool, job, progress);
    for (let at = 0; at < ids.length; at += BATCH_ROWS) {
      const stored = await readRows(pool, ids.slice(at, at + BATCH_ROWS));
      await items.setNewer(stored.map((item) => copyOfStored(item, config)));
      const rows = stored.map((item) => ({ ...item, deleted: item.kind === 'd' }));
      await settle(this.#parts, { jobs: [], changes: changesOf(rows, new Map(), []), settled: [] });
    }
  }

  /** One batch of rows and the progress over it, in one transaction. */
  async #step(
    rangeId: string,
    job: RangeJob,
    copiedTo: string | undefined,
    copying: Promise<unknown>,
  ): Promise<Step> {
    const { pool, digester } = this.#parts;
    return inTransaction(pool, async (db) => {
      const progress = await lockRange(db, rangeId, job);
      const found = progress.phase === 'done' ? [] : await nextRangeRows(db, job, progress, BATCH_ROWS);
      const rows = found.map((row) => sealed(overwritten(row, job), digester));
      const { differing } =
        rows.length === 0 ? { differing: new Map() } : await applyRows(db, rows, randomUUID());
      // A phase begins at its own start: of the one before nothing may be left to tell.
      if (found.length === 0) await copying;
      const next = advanced({ ...progress, copiedTo: copiedTo ?? progress.copiedTo }, found, job);
      await moveRange(db, rangeId, next);
      return {
        progress: next,
        finished: progress.phase === 'done',
        written: { rows, differing, allNew: false },
      };
    });
  }

  /** L2 first, then the feed, as for any batch; the range itself stays in flight until its last batch. */
  async #copy(written: WrittenRows): Promise<void> {
    if (written.rows.length === 0) return;
    await persist(this.#parts, 'l2', () => copyRows(this.#parts, written));
    await settle(this.#parts, {
      jobs: [],
      changes: changesOf(written.rows, written.differing, []),
      settled: [],
    });
  }

  async #settle(rangeId: string, deleted: number): Promise<void> {
    const nothing = { ids: [], cv: [], kinds: '' };
    await settle(this.#parts, {
      jobs: [[rangeId, 1, [[0, 'range', deleted, null]]]],
      changes: nothing,
      settled: [],
    });
  }
}

/** Every register that was written before the range's stamp, as if deleted at it. */
function overwritten({ id, contentVersion, stateVersion }: RangeRow, { stamp }: RangeJob): Row {
  return {
    ...emptyRow(id),
    contentVersion: contentVersion === UNWRITTEN ? UNWRITTEN : stamp,
    stateVersion: stateVersion === UNWRITTEN ? UNWRITTEN : stamp,
    state: DEFAULT_STATE,
  };
}

function advanced(progress: RangeProgress, found: readonly RangeRow[], { stamp }: RangeJob): RangeProgress {
  const last = found.at(-1);
  const died = progress.phase === 'live' ? found.filter((row) => row.contentVersion < stamp).length : 0;
  if (last !== undefined) return { ...progress, afterId: last.id, deleted: progress.deleted + died };
  return { ...progress, afterId: '', copiedTo: '', phase: progress.phase === 'live' ? 'dead' : 'done' };
}
