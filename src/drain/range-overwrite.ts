import { randomUUID } from 'node:crypto';
import type { Row } from '../batch/fold.ts';
import { UNWRITTEN } from '../clock.ts';
import { type Digest, ZERO_DIGEST } from '../merkle/digest.ts';
import type { RowNow } from '../postgres/apply-batch.ts';
import { insertDeadLetters, type NewDeadLetter } from '../postgres/dead-letters.ts';
import { type Queryable, type Refusal, writeAllButRefused } from '../postgres/pool.ts';
import { overwriteRows, type Overwritten } from '../postgres/range-deletes.ts';
import type { DeadPayload, RangeJob } from '../schema/job.ts';
import type { WrittenRows } from './copy-writer.ts';

/** Rows of a range, as deleted at its stamp. */
export interface RangeRows {
  readonly rows: readonly Row[];
  /** The new digest of each state register that was ever written. */
  readonly stateDigests: readonly Digest[];
}

export interface RangeWritten extends WrittenRows {
  /** Live items that became tombstones. */
  readonly died: number;
  /** Rows that Postgres would not change. */
  readonly refused: number;
}

/** Overwrites rows of a range in one statement. @param db inside a transaction */
export async function overwriteRange(
  db: Queryable,
  _rangeId: string,
  { stamp }: RangeJob,
  page: RangeRows,
): Promise<RangeWritten> {
  if (page.rows.length === 0) return { ...NO_ROWS, died: 0, refused: 0 };
  const done = await overwriteRows(db, page.rows, page.stateDigests, stamp, randomUUID());
  return { ...written(page, done, stamp), died: done.died, refused: 0 };
}

/** As `overwriteRange`, when Postgres refuses some of the rows. Those go to `dead_letters` in the same transaction (I9). */
export async function overwriteRangeIsolating(
  db: Queryable,
  rangeId: string,
  job: RangeJob,
  { rows, stateDigests }: RangeRows,
): Promise<RangeWritten> {
  const parts: RangeWritten[] = [];
  const refused = await writeAllButRefused(db, [...rows.keys()], async (places) => {
    const page = {
      rows: places.map((place) => rows[place] as Row),
      stateDigests: places.map((place) => stateDigests[place] as Digest),
    };
    parts.push(await overwriteRange(db, rangeId, job, page));
  });
  await insertDeadLetters(
    db,
    [...refused].map(([place, why]) => letterOf((rows[place] as Row).id, rangeId, job, why)),
  );
  return {
    rows: parts.flatMap((part) => part.rows),
    differing: new Map(parts.flatMap((part) => [...part.differing])),
    allNew: false,
    died: parts.reduce((sum, { died }) => sum + died, 0),
    refused: refused.size,
  };
}

const NO_ROWS: WrittenRows = { rows: [], differing: new Map(), allNew: false };

/** The rows that have the range's stamp now, each with the registers that have it. */
function written(
  { rows, stateDigests }: RangeRows,
  { otherwise, partly }: Overwritten,
  stamp: number,
): WrittenRows {
  const differing = new Map<string, RowNow>();
  const own: Row[] = [];
  rows.forEach((row, i) => {
    const now = otherwise.get(row.id);
    if (now === undefined) {
      if (!partly) own.push(row);
      return;
    }
    const content = now.contentVersion === stamp;
    const state = now.stateVersion === stamp;
    if (!content && !state) return;
    own.push({
      ...row,
      ...(content ? {} : { contentVersion: UNWRITTEN, contentDigest: ZERO_DIGEST }),
      ...(state ? { stateVersion: stamp, stateDigest: stateDigests[i] as Digest } : {}),
    });
    const isWhole =
      (content || now.contentVersion === UNWRITTEN) && (state || now.stateVersion === UNWRITTEN);
    if (!isWhole) differing.set(row.id, now);
  });
  return { rows: own, differing, allNew: false };
}

/** A dead letter that replays as a delete of the id at the range's stamp. */
function letterOf(id: string, rangeId: string, { stamp }: RangeJob, refusal: Refusal): NewDeadLetter {
  const payload: DeadPayload = {
    id,
    stamp,
    kind: 'delete',
    tiers: 'all',
    body: '',
    hash: '',
    ttlMs: null,
    state: null,
    traceParent: null,
    atomic: false,
    stateStamp: null,
    whole: null,
  };
  return { itemId: id, stamp, chunkId: rangeId, payload: JSON.stringify(payload), ...refusal };
}
