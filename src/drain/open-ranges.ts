import type { Chunk } from '../batch/fold.ts';
import type { Stamp } from '../clock.ts';
import type { OpenRange } from '../redis/in-flight.ts';

/** The range deletes in flight, asked which of them a chunk that sets states must wait for. */
export class OpenRanges {
  readonly #states: Stamp[] = [];
  readonly #prefixes = new Map<string, Stamp[]>();
  /** Lengths of the prefixes: an id is looked up once a length, however many prefixes there are. */
  readonly #lengths = new Set<number>();

  constructor(ranges: readonly OpenRange[]) {
    for (const { kind, value, stamp } of ranges) {
      if (kind === 'state') {
        this.#states.push(stamp);
        continue;
      }
      this.#lengths.add(value.length);
      const stamps = this.#prefixes.get(value);
      if (stamps === undefined) this.#prefixes.set(value, [stamp]);
      else stamps.push(stamp);
    }
  }

  /**
   * The newest earlier range delete that the chunk must wait for; undefined when there is none. One of a state looks at
   * the state an item had at its stamp, which a newer state would hide. One of a prefix counts when it covers an id
   * whose state is set: whether that item is missing is known afterwards.
   */
  blocking({ job: { first, ids, kinds } }: Chunk): Stamp | undefined {
    let newest: Stamp | undefined;
    const consider = (stamps: readonly Stamp[]) => {
      for (const stamp of stamps) if (stamp < first && stamp > (newest ?? 0)) newest = stamp;
    };
    consider(this.#states);
    ids.forEach((id, i) => {
      if (kinds[i] !== 's') return;
      for (const length of this.#lengths) consider(this.#prefixes.get(id.slice(0, length)) ?? []);
    });
    return newest;
  }
}
