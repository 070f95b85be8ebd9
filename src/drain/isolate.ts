import { foldOps, type Op, type Row } from '../batch/fold.ts';
import { boundedReason, messageOf } from '../errors.ts';
import type { Digester } from '../merkle/digest.ts';
import { applyRows, differingRows, type RowNow } from '../postgres/apply-batch.ts';
import { insertDeadLetters } from '../postgres/dead-letters.ts';
import { failureKind, inTransaction, sqlState, type Pool, type Queryable } from '../postgres/pool.ts';

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
    const dead = new Map<Op, { message: string; state: string | undefined }>();

    async function write(part: readonly Unit[]): Promise<void> {
      await db.query('SAVEPOINT part');
      try {
        await applyRows(db, foldOps(part.flat(), digester), batchId);
        await db.query('RELEASE SAVEPOINT part');
        return;
      } catch (error) {
        if (failureKind(error) !== 'data') throw error;
        await db.query('ROLLBACK TO SAVEPOINT part');
        if (part.length === 1) {
          const reason = { message: boundedReason(messageOf(error)), state: sqlState(error) };
          for (const op of part[0] ?? []) dead.set(op, reason);
          return;
        }
      }
      const middle = part.length >> 1;
      await write(part.slice(0, middle));
      await write(part.slice(middle));
    }

    await write(units);
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

function bury(
  db: Queryable,
  dead: ReadonlyMap<Op, { message: string; state: string | undefined }>,
): Promise<void> {
  return insertDeadLetters(
    db,
    [...dead].map(([op, { message, state }]) => ({
      itemId: op.id,
      stamp: op.stamp,
      chunkId: op.chunk.chunkId,
      payload: JSON.stringify(payloadOf(op)),
      sqlState: state,
      message,
    })),
  );
}

/** The operation as queued, for people and for replay. */
function payloadOf({ chunk: { job }, index, id, stamp, kind, route }: Op): object {
  return {
    id,
    stamp,
    kind,
    route,
    body: job.bodies[index],
    hash: job.hashes[index],
    ttlMs: job.ttls?.[index] ?? null,
    state: job.states?.[index] ?? null,
    traceParent: job.traces?.[index] ?? null,
    ...(job.atomic === true ? { atomic: true } : {}),
  };
}
