import { CuckooFilter, hashId } from './cuckoo.ts';

/** Share of dead ids at which a rebuild pays: a fifth of the filter's yes answers for lack of an id cost a query. */
const REBUILD_DEAD_SHARE = 0.2;
/** Each link adds its own false positives and one more look-up. */
const MAX_LINKS = 3;

/**
 * The set of live ids, as the readers use it: it grows, and what it has been told it never denies (I7).
 *
 * A fingerprint cannot be moved to a bigger table (its id is no longer known), so a full table stays as it is and a
 * new one of twice the size takes the ids that follow. `has` asks every table of the chain.
 *
 * There is no `remove`: an id whose fingerprint was already there is not stored again, so two ids may share
 * one slot, and taking it for the one would deny the other. Deleted ids are only counted; at 20 % dead, or with
 * more than three tables, `needsRebuild` asks the owner for a new filter over the live ids. Give it room to grow,
 * `withCapacity(live * 1.2)` say, because the first id too many costs a second table twice the size of the first.
 */
export class MembershipFilter {
  readonly #links: CuckooFilter[];
  readonly #hash = new Int32Array(2);
  #dead: number;

  /** Takes over a chain, oldest table first; codec.ts calls it. Elsewhere use `withCapacity`. */
  constructor(links: readonly CuckooFilter[], dead: number) {
    if (links.length === 0) throw new RangeError('a membership filter needs at least one table');
    this.#links = [...links];
    this.#dead = dead;
  }

  /** An empty filter whose first table has room for `ids` ids. @throws RangeError, see `CuckooFilter.withCapacity`. */
  static withCapacity(ids: number): MembershipFilter {
    return new MembershipFilter([CuckooFilter.withCapacity(ids)], 0);
  }

  /** True when the id took a slot; false when `has` was already true. Afterwards `has(id)` is true for good. */
  add(id: string): boolean {
    hashId(id, this.#hash);
    if (this.#hasHash()) return false;
    const newest = this.#links[this.#links.length - 1]!;
    if (newest.addHash(this.#hash)) return true;
    const next = CuckooFilter.withSlots(newest.capacity * 2);
    next.addHash(this.#hash);
    this.#links.push(next);
    return true;
  }

  /** False: this id was never added. True: it very likely was (see `CuckooFilter` for how likely). */
  has(id: string): boolean {
    hashId(id, this.#hash);
    return this.#hasHash();
  }

  /** Remembers that ids of this filter were deleted. One that comes back to life stays counted: a rebuild comes early. */
  noteDead(ids = 1): void {
    this.#dead += ids;
  }

  get needsRebuild(): boolean {
    if (this.#links.length > MAX_LINKS) return true;
    return this.#dead > 0 && this.#dead >= this.count * REBUILD_DEAD_SHARE;
  }

  /** Slots used, the dead included; less than the ids added by the ~0.01 % that shared a slot. */
  get count(): number {
    let count = 0;
    for (const link of this.#links) count += link.count;
    return count;
  }

  get dead(): number {
    return this.#dead;
  }

  /** The tables, oldest first, for the codec and for health reports. */
  get links(): readonly CuckooFilter[] {
    return this.#links;
  }

  get byteLength(): number {
    let bytes = 0;
    for (const link of this.#links) bytes += link.byteLength;
    return bytes;
  }

  #hasHash(): boolean {
    const links = this.#links;
    for (let i = links.length - 1; i >= 0; i--) {
      if (links[i]!.hasHash(this.#hash)) return true;
    }
    return false;
  }
}
