import { createHash } from 'node:crypto';
import { type Chunk, foldOps, newestStamps, type Op, opsOf, type Row } from '../batch/fold.ts';
import { boundedReason } from '../errors.ts';
import type { Digester } from '../merkle/digest.ts';
import { applyRows, differingRows, type RowNow } from '../postgres/apply-batch.ts';
import { insertDeadLetters } from '../postgres/dead-letters.ts';
import {
  inTransaction,
  type Pool,
  type Queryable,
  type Refusal,
  writeAllButRefused,
} from '../postgres/pool.ts';
import { NO_CHANGES } from '../schema/feed.ts';
import { isId } from '../schema/item.ts';
import { deadPayloadOf } from '../schema/job.ts';
import { persist, settle, type WriterParts } from './writer-parts.ts';

export interface Isolated {
  /** What the surviving operations say. */
  readonly rows: readonly Row[];
  readonly differing: ReadonlyMap<string, RowNow>;
  /** No row was there before. */
  readonly allNew: boolean;
  /** Why each refused operation was refused. */
  readonly dead: ReadonlyMap<Op, string>;
}

/** Operations that stand or fall together: one, or all of an atomic chunk. */
export type Unit = readonly Op[];

export function unitsOf(ops: readonly Op[]): Unit[] {
  const units: Unit[] = [];
  const atomic = new Map<string, Op[]>();
  for (const op of ops) {
    if (op.chunk.job.atomic !== true) {
      units.push([op]);
      continue;
    }
    let unit = atomic.get(op.chunk.chunkId);
    if (unit === undefined) {
      unit = [];
      atomic.set(op.chunk.chunkId, unit);
      units.push(unit);
    }
    unit.push(op);
  }
  return units;
}

/**
 * Writes a batch in which Postgres refused something: halves it under savepoints until each refused unit is alone,
 * which goes to `dead_letters` in the same transaction (I9). Starts from the operations and not from the folded rows,
 * so that a refused newer write does not take an older good one of the same id with it.
 */
export function applyIsolating(
  pool: Pool,
  units: readonly Unit[],
  batchId: string,
  digester: Digester,
): Promise<Isolated> {
  return inTransaction(pool, async (db) => {
    const refused = await writeAllButRefused(db, units, async (part) => {
      await applyRows(db, foldOps(part.flat(), digester), batchId);
    });
    const dead = new Map([...refused].flatMap(([unit, why]) => unit.map((op) => [op, why] as const)));
    if (dead.size > 0) await bury(db, dead);
    const survivors = units.flat().filter((op) => !dead.has(op));
    const rows = foldOps(survivors, digester);
    return {
      rows,
      allNew: false,
      differing: await differingRows(db, rows),
      dead: new Map([...dead].map(([op, { message }]) => [op, message])),
    };
  });
}

function bury(db: Queryable, dead: ReadonlyMap<Op, Refusal>): Promise<void> {
  return insertDeadLetters(
    db,
    [...dead].map(([op, refusal]) => ({
      itemId: op.id,
      stamp: op.stamp,
      chunkId: op.chunk.chunkId,
      payload: deadPayloadOf(op.chunk.job, op.index),
      ...refusal,
    })),
  );
}

/** No job of ours has a longer text: content is escaped twice in it, and each escape doubles at most. */
const PAYLOAD_FACTOR = 4;
const SHOWN_ID_LENGTH = 64;

/** A job that cannot be run: kept whole for people to look at, out of the others' way (I9). */
export async function refuseJob(
  parts: WriterParts,
  jobId: string,
  text: string,
  problem: string,
): Promise<void> {
  const { pool, config, log, observer } = parts;
  const name = nameOf(jobId);
  const reason = boundedReason(problem);
  const letter = {
    itemId: `job:${name}`,
    stamp: 0,
    chunkId: name,
    payload: jsonOf(text, PAYLOAD_FACTOR * config.maxContentBytes),
    sqlState: undefined,
    message: reason,
  };
  await persist(parts, 'l3', () => insertDeadLetters(pool, [letter]));
  // Producers of ours give ids that can be: for any other nobody waits, and it may be too long for the feed.
  if (isId(jobId)) {
    await settle(parts, {
      jobs: [{ chunkId: jobId, operations: 0, outcome: { refused: reason } }],
      changes: NO_CHANGES,
      settled: [],
    });
  }
  observer.chunkRefused();
  log.error({ chunk: name, reason }, 'job cannot be run; moved to dead_letters');
}

/** Why a chunk is refused whose note was taken back before its job arrived. */
export const LATE = 'arrived after its submit had been refused';

/**
 * Chunks whose notes were taken back before their jobs arrived: their callers were told of a failure, and range deletes that came
 * after them have not waited for them. Their operations are kept for replay and never written (I4).
 */
export async function refuseLate(parts: WriterParts, chunks: readonly Chunk[]): Promise<void> {
  const { pool, log, observer } = parts;
  const ops = chunks.flatMap(opsOf);
  const letters = ops.map((op) => ({
    itemId: op.id,
    stamp: op.stamp,
    chunkId: op.chunk.chunkId,
    payload: deadPayloadOf(op.chunk.job, op.index),
    sqlState: undefined,
    message: LATE,
  }));
  await persist(parts, 'l3', () => insertDeadLetters(pool, letters));
  await settle(parts, {
    jobs: chunks.map(({ chunkId, job }) => ({
      chunkId,
      operations: job.ids.length,
      outcome: { refused: LATE },
    })),
    changes: NO_CHANGES,
    settled: newestStamps(ops),
  });
  for (const { chunkId } of chunks) {
    observer.chunkRefused();
    log.warn({ chunk: chunkId }, 'chunk arrived after its submit had been refused; moved to dead_letters');
  }
}

/** The job's id, or what Postgres and people can take of it. */
function nameOf(jobId: string): string {
  const shown = JSON.stringify(jobId.slice(0, SHOWN_ID_LENGTH)).slice(1, -1);
  return isId(jobId) ? jobId : `${shown}#${createHash('sha256').update(jobId).digest('hex').slice(0, 16)}`;
}

/** JSON text: the job's own, or a string with what stood in its place, of which no more than `maxLength` is kept. */
function jsonOf(text: string, maxLength: number): string {
  const kept = text.length > maxLength ? text.slice(0, maxLength) : text;
  return kept === text && isJson(text) ? text : JSON.stringify(kept);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
