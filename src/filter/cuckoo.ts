/** Slots in one bucket. Four reach a load of ~0.98 before inserts fail; two stop near 0.85. */
const SLOTS = 4;
/** The load a filter is sized for: 1,000,000 ids in 2^18 buckets are 0.9537. */
const MAX_LOAD = 0.955;
/**
 * Longest chain of evictions one insert may try before it is undone and `add` answers false. Measured on 2^18 buckets,
 * the first insert fails at a load of 0.9525 to 0.964 with 500 (60 fills), from 0.966 with 1000, from 0.971 with 2000:
 * 2000 holds `MAX_LOAD` with a margin and needs no stash, which would have to be searched and stored as well.
 */
const MAX_KICKS = 2000;
const MIN_SLOTS = 1024;
const MAX_SLOTS = 2 ** 30;

/**
 * Hashes the UTF-16 code units of an id into two 32-bit lanes, written to `out[0]` and `out[1]`.
 *
 * Two code units at a time go through the block and final mix of MurmurHash3 (Austin Appleby, public domain), each lane
 * with constants of its own. Pure JS: 0.1 µs for 36 characters, where `crypto.hash` takes 2. Not
 * for secrets. Filters are stored, so this function is part of the stored format: a change needs a new
 * `FORMAT_VERSION` in codec.ts.
 */
export function hashId(id: string, out: Int32Array): void {
  const length = id.length;
  let a = 0x9747b28c | 0;
  let b = 0x5bd1e995 | 0;
  let i = 0;
  while (i < length) {
    let k = id.charCodeAt(i++);
    if (i < length) k |= id.charCodeAt(i++) << 16;
    let k1 = Math.imul(k, 0xcc9e2d51);
    k1 = Math.imul((k1 << 15) | (k1 >>> 17), 0x1b873593);
    let k2 = Math.imul(k, 0x239b961b);
    k2 = Math.imul((k2 << 16) | (k2 >>> 16), 0xab0e9789);
    a ^= k1;
    a = (((a << 19) | (a >>> 13)) + b) | 0;
    a = (Math.imul(a, 5) + 0x561ccd1b) | 0;
    b ^= k2;
    b = (((b << 17) | (b >>> 15)) + a) | 0;
    b = (Math.imul(b, 5) + 0x0bcaa747) | 0;
  }
  a = (a ^ length) | 0;
  b = ((b ^ length) + a) | 0;
  a = mix((a + b) | 0);
  b = mix(b);
  out[0] = (a + b) | 0;
  out[1] = (b + out[0]) | 0;
}

function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/**
 * How far apart the two buckets of a fingerprint are. It depends on the fingerprint alone and is applied with XOR, so
 * `partner(partner(bucket)) === bucket` for every power-of-two table: without that, an evicted fingerprint
 * lands where `has` does not look, and the filter denies an id it holds.
 */
function distance(fingerprint: number): number {
  const h = Math.imul(fingerprint, 0x5bd1e995);
  return h ^ (h >>> 15);
}

/**
 * Cuckoo filter (Fan, Andersen, Kaminsky, Mitzenmacher: "Cuckoo Filter: Practically Better Than Bloom", CoNEXT 2014):
 * a set of ids in two bytes a slot that may say yes wrongly (~0.012 % when full) and never no wrongly.
 *
 * An id has a non-zero 16-bit fingerprint and two buckets it may live in. When both are full, one resident moves to
 * its other bucket, and so on for up to `MAX_KICKS` moves. An insert that runs out of moves puts every
 * resident back where it was, so a full filter still knows all it has accepted.
 *
 * Adding one id twice stores it twice. Ids cannot be removed: another id may share the fingerprint.
 */
export class CuckooFilter {
  readonly #table: Uint16Array;
  readonly #bucketMask: number;
  readonly #hash = new Int32Array(2);
  readonly #path = new Int32Array(MAX_KICKS);
  #count: number;
  #random = 0x2545f491;

  /**
   * Takes over a table and the number of its used slots; codec.ts calls it with what it has read.
   * @throws RangeError when the table is not 4 slots times a power of two.
   */
  constructor(table: Uint16Array, count: number) {
    const buckets = table.length / SLOTS;
    if (!isTableLength(table.length)) throw new RangeError(`table of ${table.length} slots: not 4 × 2^n`);
    this.#table = table;
    this.#bucketMask = buckets - 1;
    this.#count = count;
  }

  /**
   * An empty filter with room for `ids` ids at a load of at most 0.955.
   * @throws RangeError when `ids` is negative, not a number, or above what one table can hold (~1 G).
   */
  static withCapacity(ids: number): CuckooFilter {
    if (!(ids >= 0 && ids <= MAX_SLOTS * MAX_LOAD)) throw new RangeError(`no filter for ${ids} ids`);
    let slots = MIN_SLOTS;
    while (slots * MAX_LOAD < ids) slots *= 2;
    return CuckooFilter.withSlots(slots);
  }

  /** An empty filter of exactly `slots` slots, 4 times a power of two. */
  static withSlots(slots: number): CuckooFilter {
    return new CuckooFilter(new Uint16Array(slots), 0);
  }

  /** Used slots: ids added, those added twice counting twice. */
  get count(): number {
    return this.#count;
  }

  /** All slots. Inserts start to fail when about 0.97 of them are used. */
  get capacity(): number {
    return this.#table.length;
  }

  get byteLength(): number {
    return this.#table.byteLength;
  }

  /** The slots themselves, for the codec. Do not write to them. */
  get table(): Uint16Array {
    return this.#table;
  }

  /** False: full. Nothing has changed then, and every id accepted before is still found. */
  add(id: string): boolean {
    hashId(id, this.#hash);
    return this.addHash(this.#hash);
  }

  has(id: string): boolean {
    hashId(id, this.#hash);
    return this.hasHash(this.#hash);
  }

  /** `has` for a hash already taken with `hashId`, so that a chain of filters hashes an id once. */
  hasHash(hash: Int32Array): boolean {
    const fingerprint = fingerprintOf(hash);
    const bucket = hash[0]! & this.#bucketMask;
    return this.#holds(bucket, fingerprint) || this.#holds(this.#partner(bucket, fingerprint), fingerprint);
  }

  /** `add` for a hash already taken with `hashId`. */
  addHash(hash: Int32Array): boolean {
    const fingerprint = fingerprintOf(hash);
    const bucket = hash[0]! & this.#bucketMask;
    const partner = this.#partner(bucket, fingerprint);
    const stored =
      this.#replace(bucket, 0, fingerprint) ||
      this.#replace(partner, 0, fingerprint) ||
      this.#kick(this.#nextRandom() & 1 ? bucket : partner, fingerprint);
    if (stored) this.#count++;
    return stored;
  }

  #partner(bucket: number, fingerprint: number): number {
    return (bucket ^ distance(fingerprint)) & this.#bucketMask;
  }

  #holds(bucket: number, fingerprint: number): boolean {
    const table = this.#table;
    const slot = bucket * SLOTS;
    return (
      table[slot] === fingerprint ||
      table[slot + 1] === fingerprint ||
      table[slot + 2] === fingerprint ||
      table[slot + 3] === fingerprint
    );
  }

  /** Puts `next` into the first slot of the bucket that holds `previous`; 0 is an empty slot. */
  #replace(bucket: number, previous: number, next: number): boolean {
    const table = this.#table;
    const slot = bucket * SLOTS;
    for (let i = slot; i < slot + SLOTS; i++) {
      if (table[i] === previous) {
        table[i] = next;
        return true;
      }
    }
    return false;
  }

  /** Random walk: swap with a random resident, which then looks for room in its other bucket. */
  #kick(start: number, fingerprint: number): boolean {
    const table = this.#table;
    const path = this.#path;
    let bucket = start;
    let homeless = fingerprint;
    for (let kicks = 0; kicks < MAX_KICKS; kicks++) {
      const slot = bucket * SLOTS + (this.#nextRandom() & (SLOTS - 1));
      const resident = table[slot]!;
      table[slot] = homeless;
      path[kicks] = slot;
      homeless = resident;
      bucket = this.#partner(bucket, homeless);
      if (this.#replace(bucket, 0, homeless)) return true;
    }
    // Backwards, because the walk may have come through one slot twice.
    for (let kicks = MAX_KICKS - 1; kicks >= 0; kicks--) {
      const slot = path[kicks]!;
      const resident = table[slot]!;
      table[slot] = homeless;
      homeless = resident;
    }
    return false;
  }

  /** xorshift32 from a fixed start: the same adds in the same order give the same bytes, so tests repeat. */
  #nextRandom(): number {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    return x >>> 16;
  }
}

/** Whether a table may have this many slots: 4 times a power of two. */
export function isTableLength(slots: number): boolean {
  return Number.isInteger(slots) && slots >= SLOTS && slots <= MAX_SLOTS && (slots & (slots - 1)) === 0;
}

function fingerprintOf(hash: Int32Array): number {
  return hash[1]! >>> 16 || 1;
}
