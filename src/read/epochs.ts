import type { Lanes } from '../lanes.ts';

/**
 * A time in which no change of a partition was missed. Entries of L1 that were read in it are served while `isServed` is set: the
 * feed is followed and the epoch lasts. An entry holds its epoch, so a hit needs not know the partition of its id.
 */
export class Epoch {
  isServed = false;
}

/** The epoch of an entry that is never served. */
export const NEVER = new Epoch();

/** The epoch of each partition. A missed change ends the epoch of its own partition only. */
export class Epochs {
  readonly #lanes: Pick<Lanes, 'of'>;
  readonly #current: Epoch[];

  constructor(lanes: Pick<Lanes, 'of' | 'count'>) {
    this.#lanes = lanes;
    this.#current = Array.from({ length: lanes.count }, () => new Epoch());
  }

  of(id: string): Epoch {
    return this.at(this.#lanes.of(id));
  }

  at(partition: number): Epoch {
    return this.#current[partition] as Epoch;
  }

  /** Begins the next epoch of a partition and returns the one that has ended. */
  next(partition: number): Epoch {
    const ended = this.at(partition);
    const begun = new Epoch();
    begun.isServed = ended.isServed;
    ended.isServed = false;
    this.#current[partition] = begun;
    return ended;
  }
}
