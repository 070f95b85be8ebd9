import { createHash } from 'node:crypto';
import { type Chunk, foldOps, newestStamps, type Op, opsOf, type Row } from '../batch/fold.ts';
import { boundedReason } from '../errors.ts';
import type { Digester } from '../merkle/digest.ts';
import { type Applied, appliedNow, applyRows } from '../postgres/apply-batch.ts';
import { insertDeadLetters } from '../postgres/dead-letters.ts';
import { type Queryable, type Refusal, writeAllButRefused } from '../postgres/pool.ts';
import type { PartitionRows } from '../postgres/shards.ts';
import { NO_CHANGES } from '../schema/feed.ts';
import { isId } from '../schema/item.ts';
import { deadPayloadOf } from '../schema/job.ts';
import { untilDone, settle, type WriterParts } from './writer-parts.ts';

export interface StoredBatch extends Applied {
  /** The rows of the operations that were not refused. */
  readonly rows: readonly Row[];
  /** Why each refused operation was refused. */
  readonly dead: ReadonlyMap<Op, string>;
}

/** Operations that are applied together or not at all: one, or all of an atomic chunk. */
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
 * Writes a batch of which Postgres refused something. It halves the batch under savepoints until each refused unit is alone.
 * Those go to `dead_letters` in the same transaction (I9). It splits operations and not folded rows, so that an older good
 * write of the same id is still applied when the newer one is refused.
 */
export function applyIsolating(
  partition: PartitionRows,
  units: readonly Unit[],
  batchId: string,
  digester: Digester,
): Promise<StoredBatch> {
  return partition.transaction(async (db) => {
    const refused = await writeAllButRefused(db, units, async (part) => {
      await applyRows(db, foldOps(part.flat(), digester), batchId);
    });
    const dead = new Map([...refused].flatMap(([unit, why]) => unit.map((op) => [op, why] as const)));
    if (dead.size > 0) await bury(db, dead);
    const survivors = units.flat().filter((op) => !dead.has(op));
    const rows = foldOps(survivors, digester);
    return {
      rows,
      ...(await appliedNow(db, rows)),
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

/** No job of Tierline has a longer text: content is escaped twice in it, and each time becomes at most twice as long. */
const PAYLOAD_FACTOR = 4;
const SHOWN_ID_LENGTH = 64;

/** Puts a job that cannot be run into `dead_letters` as it is. The queue goes on (I9). */
export async function refuseJob(
  parts: WriterParts,
  jobId: string,
  text: string,
  problem: string,
): Promise<void> {
  const { partition, config, log, observer } = parts;
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
  await untilDone(parts, 'l3', () => partition.write((db) => insertDeadLetters(db, [letter])));
  // Tierline's producers give valid ids. Nobody waits for another, and it may be too long for the feed.
  if (isId(jobId)) {
    await settle(parts, {
      jobs: [{ chunkId: jobId, operations: 0, outcome: { refused: reason } }],
      changes: NO_CHANGES,
      newest: [],
    });
  }
  observer.chunkRefused();
  log.error({ chunk: name, reason }, 'job cannot be run; moved to dead_letters');
}

/** The reason of a chunk whose note was taken back before its job arrived. */
export const LATE = 'arrived after its submit had been refused';

/**
 * Refuses chunks whose notes were taken back before their jobs arrived. Their callers were told that they failed, and later
 * range deletes did not wait for them. Their operations are kept for replay and never written (I4).
 */
export async function refuseLate(parts: WriterParts, chunks: readonly Chunk[]): Promise<void> {
  const { partition, log, observer } = parts;
  const ops = chunks.flatMap(opsOf);
  const letters = ops.map((op) => ({
    itemId: op.id,
    stamp: op.stamp,
    chunkId: op.chunk.chunkId,
    payload: deadPayloadOf(op.chunk.job, op.index),
    sqlState: undefined,
    message: LATE,
  }));
  await untilDone(parts, 'l3', () => partition.write((db) => insertDeadLetters(db, letters)));
  await settle(parts, {
    jobs: chunks.map(({ chunkId, job }) => ({
      chunkId,
      operations: job.ids.length,
      outcome: { refused: LATE },
    })),
    changes: NO_CHANGES,
    newest: newestStamps(ops),
  });
  for (const { chunkId } of chunks) {
    observer.chunkRefused();
    log.warn({ chunk: chunkId }, 'chunk arrived after its submit had been refused; moved to dead_letters');
  }
}

/** The job's id, or a short text in its place that Postgres and people can read. */
function nameOf(jobId: string): string {
  const shown = JSON.stringify(jobId.slice(0, SHOWN_ID_LENGTH)).slice(1, -1);
  return isId(jobId) ? jobId : `${shown}#${createHash('sha256').update(jobId).digest('hex').slice(0, 16)}`;
}

/** The job's text if it is JSON, or else a JSON string of it, cut at `maxLength`. */
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
