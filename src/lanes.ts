import { type Keys, keysOf } from './keys.ts';
import { MAX_PARTITIONS, partitionOf } from './partition.ts';

/**
 * The partitions of a deployment and their keys. Each is a lane of its own in Redis: clock, notes of what is in flight, feed and
 * queues. Order, settling and coherence are promises about one id, so they hold lane by lane.
 */
export class Lanes {
  readonly count: number;
  /** Keys of what is there once for the whole deployment. With one partition they are those of its lane, too. */
  readonly home: Keys;
  /** Keys of each lane, by its partition. */
  readonly keys: readonly Keys[];

  constructor(namespace: string, count: number) {
    this.count = count;
    this.home = keysOf(namespace);
    this.keys =
      count === 1
        ? [this.home]
        : Array.from({ length: count }, (_, partition) => keysOf(namespace, partition, count));
  }

  /** The partition of an id. */
  of(id: string): number {
    return partitionOf(id, this.count);
  }

  keysOf(id: string): Keys {
    return this.keys[this.of(id)] as Keys;
  }

  /** Runs `work` for each lane that has some of these, all at once, with their places in the list. */
  async each<T>(
    items: readonly T[],
    idOf: (item: T) => string,
    work: (keys: Keys, items: readonly T[], places: readonly number[]) => Promise<unknown>,
  ): Promise<void> {
    if (this.count === 1) {
      if (items.length > 0) await work(this.home, items, [...items.keys()]);
      return;
    }
    const places = new Map<number, number[]>();
    items.forEach((item, i) => {
      const lane = this.of(idOf(item));
      const found = places.get(lane);
      if (found === undefined) places.set(lane, [i]);
      else found.push(i);
    });
    await Promise.all(
      Array.from(places, ([lane, of]) =>
        work(
          this.keys[lane] as Keys,
          of.map((i) => items[i] as T),
          of,
        ),
      ),
    );
  }
}

/** The places in the hash tree that a partition covers, first and last; undefined when it is the whole tree. */
export type HashRange = { readonly first: number; readonly last: number } | undefined;

export function hashRangeOf(partition: number, count: number): HashRange {
  if (count === 1) return undefined;
  const size = 2 ** 31 / count;
  return { first: partition * size, last: (partition + 1) * size - 1 };
}

/** As `hashRangeOf`, also of the only partition. */
export function hashSpanOf(partition: number, count: number): NonNullable<HashRange> {
  return hashRangeOf(partition, count) ?? { first: 0, last: 2 ** 31 - 1 };
}

export function isPartitionCount(count: number): boolean {
  return Number.isInteger(count) && count >= 1 && count <= MAX_PARTITIONS && (count & (count - 1)) === 0;
}
