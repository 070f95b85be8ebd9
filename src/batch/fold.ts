import { UNWRITTEN, type Stamp } from '../clock.ts';
import { type Digest, type Digester, ZERO_DIGEST } from '../merkle/digest.ts';
import { DEFAULT_STATE } from '../schema/item.ts';
import { type ContentValue, isNewerContent, isNewerState } from '../schema/register-order.ts';
import {
  type ChunkJob,
  kindAt,
  type OperationKind,
  stampAt,
  stateAt,
  stateStampAt,
  tiersAt,
} from '../schema/job.ts';
import type { Tiers } from '../types/write.ts';

/** A chunk with the id of its job. */
export interface Chunk {
  readonly chunkId: string;
  readonly job: ChunkJob;
}

export interface Op {
  readonly chunk: Chunk;
  readonly index: number;
  readonly id: string;
  readonly stamp: Stamp;
  /** With which it writes the state, if it does. */
  readonly stateStamp: Stamp;
  readonly kind: OperationKind;
  readonly tiers: Tiers;
}

/**
 * What a batch writes to one id. A row has two last-writer-wins registers, content and state; each has the newest value among
 * the batch's operations (`schema/register-order.ts`). A submit writes the content, and the state if it names one. A delete writes both, a setState only the
 * state.
 */
export interface Row {
  readonly id: string;
  /** UNWRITTEN when the batch does not write the content. */
  contentVersion: Stamp;
  deleted: boolean;
  binary: boolean;
  /** JSON text, or base64 when `binary`; '' when deleted or unwritten. */
  body: string;
  contentHash: string;
  stateVersion: Stamp;
  state: string;
  tiers: Tiers;
  ttlMs: number;
  traceParent: string | null;
  /** Digests of the registers. That of an unwritten one is zero. */
  contentDigest: Digest;
  stateDigest: Digest;
}

export function opsOf(chunk: Chunk): Op[] {
  const { job } = chunk;
  return job.ids.map((id, index) => ({
    chunk,
    index,
    id,
    stamp: stampAt(job, index),
    stateStamp: stateStampAt(job, index),
    kind: kindAt(job, index),
    tiers: tiersAt(job, index),
  }));
}

/**
 * One row for each id, sorted by id. The result depends only on the operations, not on their order or on how they were split
 * into chunks (I2). Sorting prevents deadlocks between concurrent batches: without it there were 238 in 720 statements.
 */
export function foldOps(ops: Iterable<Op>, digester: Digester): Row[] {
  const rows = new Map<string, Row>();
  for (const op of ops) {
    let row = rows.get(op.id);
    if (row === undefined) {
      row = emptyRow(op.id);
      rows.set(op.id, row);
    }
    write(row, op);
  }
  const sorted = [...rows.values()].toSorted(byId);
  for (const row of sorted) sealed(row, digester);
  return sorted;
}

/** A row with both registers unwritten. */
export function emptyRow(id: string): Row {
  return {
    id,
    contentVersion: UNWRITTEN,
    deleted: true,
    binary: false,
    body: '',
    contentHash: '',
    stateVersion: UNWRITTEN,
    state: DEFAULT_STATE,
    tiers: 'all',
    ttlMs: 0,
    traceParent: null,
    contentDigest: ZERO_DIGEST,
    stateDigest: ZERO_DIGEST,
  };
}

function write(row: Row, op: Op): void {
  const { job } = op.chunk;
  const state = stateAt(job, op.index);
  if (op.kind !== 'setState' && writesContent(op, row)) {
    row.contentVersion = op.stamp;
    row.deleted = op.kind === 'delete';
    row.binary = op.kind === 'putBinary';
    row.body = job.bodies[op.index] as string;
    row.contentHash = job.hashes[op.index] as string;
    row.tiers = op.tiers;
    row.ttlMs = job.ttls?.[op.index] ?? 0;
    row.traceParent = job.traces?.[op.index] ?? null;
  }
  if (state !== undefined && writesState(op, state, row)) {
    row.stateVersion = op.stateStamp;
    row.state = state;
  }
}

/** The stamps are compared first: they decide nearly always, and without an object. */
function writesContent(op: Op, row: Row): boolean {
  if (op.stamp !== row.contentVersion) return op.stamp > row.contentVersion;
  return isNewerContent(contentOf(op), row);
}

function writesState({ stateStamp }: Op, state: string, row: Row): boolean {
  if (stateStamp !== row.stateVersion) return stateStamp > row.stateVersion;
  return isNewerState({ stateVersion: stateStamp, state }, row);
}

/** What an operation writes to the content register. */
export function contentOf({ chunk: { job }, index, stamp, kind }: Op): ContentValue {
  return { contentVersion: stamp, deleted: kind === 'delete', contentHash: job.hashes[index] as string };
}

/** Sets the digests of a row, in place: copying a row to add two fields cost 10 µs, five times as much as the hashes. */
export function sealed(row: Row, digester: Digester): Row {
  if (row.contentVersion !== UNWRITTEN) {
    row.contentDigest = digester.content(
      row.id,
      row.contentVersion,
      row.deleted ? undefined : row.contentHash,
    );
  }
  if (row.stateVersion !== UNWRITTEN) row.stateDigest = digester.state(row.id, row.stateVersion, row.state);
  return row;
}

/** Orders by UTF-16 units. Any total order does, if all workers share it. */
function byId(a: Row, b: Row): number {
  return a.id < b.id ? -1 : 1;
}

/** The newest stamp of each id. */
export function newestStamps(ops: readonly Op[]): Map<string, Stamp> {
  const newest = new Map<string, Stamp>();
  for (const op of ops) {
    const stamp = Math.max(op.stamp, op.stateStamp);
    if (stamp > (newest.get(op.id) ?? 0)) newest.set(op.id, stamp);
  }
  return newest;
}
