import { foldOps, type Op, type Row } from '../batch/fold.ts';
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
import { deadPayloadOf } from '../schema/job.ts';

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
