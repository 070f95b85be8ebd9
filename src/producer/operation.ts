import type { Stamp } from '../clock.ts';
import { hashContent } from '../merkle/digest.ts';
import type { SerializedItem } from '../schema/item.ts';
import type { ChunkJob, OpKind, RouteCode } from '../schema/job.ts';
import type { Tiers } from '../types.ts';

/** One operation on its way into a chunk. */
export interface Operation {
  readonly id: string;
  readonly kind: OpKind;
  readonly body: string;
  readonly hash: string;
  /** Content bytes. */
  readonly bytes: number;
  readonly route: RouteCode;
  readonly ttlMs: number | null;
  readonly state: string | null;
  readonly traceParent: string | null;
}

const ROUTES: Readonly<Record<Tiers, RouteCode>> = { all: 'a', cache: 'c', durable: 'd' };

export function putOperation(
  item: SerializedItem,
  tiers: Tiers,
  ttlMs: number | undefined,
  state: string | undefined,
): Operation {
  return {
    id: item.id,
    kind: item.kind === 'json' ? 'j' : 'b',
    body: item.body,
    hash: hashContent(item.raw),
    bytes: item.bytes,
    route: ROUTES[tiers],
    ttlMs: ttlMs ?? null,
    state: item.state ?? state ?? null,
    traceParent: item.traceParent ?? null,
  };
}

export function deleteOperation(id: string): Operation {
  return {
    id,
    kind: 'd',
    body: '',
    hash: '',
    bytes: 0,
    route: 'a',
    ttlMs: null,
    state: null,
    traceParent: null,
  };
}

export function stateOperation(id: string, state: string): Operation {
  return { id, kind: 's', body: '', hash: '', bytes: 0, route: 'a', ttlMs: null, state, traceParent: null };
}

/** Hash, kind, stamp, and what Redis keeps around a pending id. */
export const NOTED_BYTES = 250;

/** What an operation takes in the queue, about. Its id stands in the job and among the pending. */
export function queuedBytes({ id, body, bytes }: Operation): number {
  // Binary content is queued as base64.
  return Math.max(bytes, body.length) + 2 * id.length + NOTED_BYTES;
}

/** Deletes and new states are admitted to a queue that is full of items. */
export function hasReserve({ kind }: Operation): boolean {
  return kind === 'd' || kind === 's';
}

/** Columns that no operation uses stay out of the job. */
export function toChunkJob(first: Stamp, operations: readonly Operation[], atomic: boolean): ChunkJob {
  const column = <K extends keyof Operation>(key: K): Operation[K][] =>
    operations.map((operation) => operation[key]);
  const used = (key: 'ttlMs' | 'state' | 'traceParent') =>
    operations.some((operation) => operation[key] !== null);
  return {
    v: 1,
    first,
    ids: column('id'),
    kinds: column('kind').join(''),
    bodies: column('body'),
    hashes: column('hash'),
    ...(operations.some((operation) => operation.route !== 'a') ? { routes: column('route').join('') } : {}),
    ...(used('ttlMs') ? { ttls: column('ttlMs') } : {}),
    ...(used('state') ? { states: column('state') } : {}),
    ...(used('traceParent') ? { traces: column('traceParent') } : {}),
    ...(atomic ? { atomic } : {}),
  };
}
