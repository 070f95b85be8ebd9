import { hashContent } from '../merkle/digest.ts';
import type { SerializedItem } from '../schema/item.ts';
import type { Operation } from '../schema/job.ts';
import type { Tiers } from '../types/write.ts';

/** An operation that is to be queued. */
export interface SizedOperation extends Operation {
  /** Content bytes. */
  readonly bytes: number;
}

const NO_CONTENT = { tiers: 'all', body: '', hash: '', bytes: 0, ttlMs: null, traceParent: null } as const;

export function putOperation(
  item: SerializedItem,
  tiers: Tiers,
  ttlMs: number | undefined,
  state: string | undefined,
): SizedOperation {
  return {
    id: item.id,
    kind: item.kind === 'json' ? 'putJson' : 'putBinary',
    body: item.body,
    hash: hashContent(item.raw),
    bytes: item.bytes,
    tiers,
    ttlMs: ttlMs ?? null,
    state: item.state ?? state ?? null,
    traceParent: item.traceParent ?? null,
  };
}

export function deleteOperation(id: string): SizedOperation {
  return { id, kind: 'delete', state: null, ...NO_CONTENT };
}

export function stateOperation(id: string, state: string): SizedOperation {
  return { id, kind: 'setState', state, ...NO_CONTENT };
}

/** Bytes of the hash, kind and stamp, and of the note that Redis keeps of a pending id. */
export const NOTED_BYTES = 250;

/** About how many bytes an operation takes in the queue. Its id is stored in the job and among the pending ids. */
export function queuedBytes({ id, body, bytes }: SizedOperation): number {
  // Binary content is queued as base64.
  return Math.max(bytes, body.length) + 2 * id.length + NOTED_BYTES;
}

/** Whether it is accepted up to `RESERVE_RATIO`: deletes and new states are. */
export function hasReserve({ kind }: SizedOperation): boolean {
  return kind === 'delete' || kind === 'setState';
}
