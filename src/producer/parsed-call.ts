import { AtomicRefusedError, InvalidItemError, messageOf, TierlineError } from '../errors.ts';
import { partitionOf } from '../partition.ts';
import { unreadable } from '../schema/item.ts';
import type { Rejection } from '../types/write.ts';
import type { SizedOperation } from './operation.ts';

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
export interface ParsedCall {
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
