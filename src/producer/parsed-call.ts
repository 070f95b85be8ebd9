import { AtomicRefusedError, InvalidItemError, messageOf, TierlineError } from '../errors.ts';
import { hashContent } from '../merkle/digest.ts';
import { partitionOf } from '../partition.ts';
import { type SerializedItem, unreadable } from '../schema/item.ts';
import type { Operation } from '../schema/job.ts';
import type { Rejection, Tiers } from '../types/write.ts';

/** An atomic call is one job and one transaction. A larger one would delay all other writes. */
const MAX_ATOMIC_ITEMS = 10_000;

/** @throws InvalidItemError when it is no array, or a proxy that throws */
export function lengthOf(inputs: unknown): number {
  if (!Array.isArray(inputs)) throw new InvalidItemError('items', 'must be an array');
  try {
    return inputs.length;
  } catch (cause) {
    throw unreadable('items', cause);
  }
}

/** The inputs of one call. */
interface ParsedCall {
  /** Those that can be queued. */
  readonly operations: SizedOperation[];
  /** Place of each operation in the call. */
  readonly indexes: number[];
  /** Content bytes of the operations together. */
  readonly bytes: number;
  readonly rejected: Rejection[];
}

export function parseAll<T>(
  inputs: readonly T[],
  total: number,
  parse: (input: T) => SizedOperation,
  idOf: (input: T | undefined) => unknown,
): ParsedCall {
  const rejected: Rejection[] = [];
  const operations: SizedOperation[] = [];
  const indexes: number[] = [];
  let bytes = 0;
  for (let index = 0; index < total; index++) {
    let input: T | undefined;
    try {
      input = inputs[index] as T;
      const operation = parse(input);
      bytes += operation.bytes;
      operations.push(operation);
      indexes.push(index);
    } catch (error) {
      const refusal = error instanceof TierlineError ? error : unreadable('item', error);
      rejected.push({ index, id: nameOf(input, idOf), error: refusal });
    }
  }
  return { operations, indexes, bytes, rejected };
}

/** @throws InvalidItemError */
export function refuseLong(total: number): void {
  if (total <= MAX_ATOMIC_ITEMS) return;
  throw new InvalidItemError('items', `has ${total} items; an atomic call takes at most ${MAX_ATOMIC_ITEMS}`);
}

/** @throws InvalidItemError */
export function refuseLarge({ bytes }: ParsedCall, maxBytes: number): void {
  if (bytes <= maxBytes) return;
  throw new InvalidItemError(
    'items',
    `have ${bytes} bytes together; an atomic call takes at most ${maxBytes}`,
  );
}

/** An atomic call is one job of one lane. @throws AtomicRefusedError */
export function refuseSpanning({ operations }: ParsedCall, partitions: number): void {
  if (partitions === 1) return;
  const [first, ...others] = operations.map(({ id }) => id);
  const lane = partitionOf(first as string, partitions);
  const other = others.find((id) => partitionOf(id, partitions) !== lane);
  if (other === undefined) return;
  throw new AtomicRefusedError(
    `${JSON.stringify(first)} and ${JSON.stringify(other)} are in different partitions, and an atomic call stays in one. Give ids that are written together a common part in braces, such as {order.17}.head and {order.17}.lines.`,
  );
}

/** The rejections of an atomic call: the bad items, and the others because of them. */
export function allRejected({ operations, indexes, rejected }: ParsedCall): Rejection[] {
  const cause = rejected[0]?.error;
  const others = operations.map(({ id }, i) => ({
    index: indexes[i] as number,
    id,
    error: new AtomicRefusedError(`Refused with the whole call: ${messageOf(cause)}`, { cause }),
  }));
  return [...rejected, ...others].sort(byIndex);
}

export function byIndex(a: Rejection, b: Rejection): number {
  return a.index - b.index;
}

/** The id of a refused input; '' when it has none or cannot be read. */
function nameOf<T>(input: T, idOf: (input: T) => unknown): string {
  try {
    const id = idOf(input);
    return typeof id === 'string' ? id : '';
  } catch {
    return '';
  }
}

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
