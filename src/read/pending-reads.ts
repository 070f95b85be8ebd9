import type { StoredItem } from '../schema/stored-item.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { Floors } from './floors.ts';
import {
  bytesOf,
  entryOf,
  type Epoch,
  type Epochs,
  isAbove,
  isBelow,
  type L1Entry,
  NEVER,
  newestOf,
  type Stamps,
} from './l1-entry.ts';
import type { TierLookup } from './tier-lookup.ts';

/**
 * From this round on L3's answer is taken although it is older than its fence. L2 has a change before the feed tells of it, so the
 * second answer is new enough unless Redis came back older than it was. There is another round only when the fence has risen since
 * L3 was asked: other reads may have given out newer versions meanwhile.
 */
const ROUND_THAT_TAKES_OLD = 3;

/** Which tier had the answer of a read. */
export type AnsweringTier = 'l2' | 'l3' | 'none';

/** Hears once of each read that it waits for. */
export interface ReadWaiter {
  readDone(read: PendingRead): void;
}

const NO_CHANGE: Stamps = { contentVersion: 0, stateVersion: 0 };

/**
 * One read of one id through the tiers, shared by all who ask for the id meanwhile. Its answer must not be older than its fence: the
 * newest change that was heard of since it began, from the feed, from Redis about a floor, or as a settled write of this process.
 */
export class PendingRead {
  readonly id: string;
  readonly epoch: Epoch;
  #fence: Stamps = NO_CHANGE;
  /** `missing`: L2 has no copy. `outdated`: it has one that is too old. `unknown`: it was not asked, or is away. */
  copyState: 'unknown' | 'missing' | 'outdated' = 'unknown';
  /** Others who ask for the id may join it. */
  isJoinable = true;
  #entry: L1Entry | undefined;
  #tier: AnsweringTier = 'none';
  #error: unknown;
  #isDone = false;
  /** Nearly always one, so a list is made for the second. */
  #waiter: ReadWaiter | ReadWaiter[] | undefined;

  constructor(id: string, epoch: Epoch) {
    this.id = id;
    this.epoch = epoch;
  }

  get fence(): Stamps {
    return this.#fence;
  }

  /** A change of the id was heard of. */
  raiseFence(change: Stamps): void {
    this.#fence = newestOf(change, this.#fence);
  }

  answer(entry: L1Entry, tier: AnsweringTier): void {
    this.#entry = entry;
    this.#tier = tier;
    this.#end();
  }

  fail(error: unknown): void {
    this.#error = error;
    this.#end();
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  /** Calls back once, when there is an answer or an error. */
  whenDone(waiter: ReadWaiter): void {
    if (this.#isDone) waiter.readDone(this);
    else if (this.#waiter === undefined) this.#waiter = waiter;
    else if (Array.isArray(this.#waiter)) this.#waiter.push(waiter);
    else this.#waiter = [this.#waiter, waiter];
  }

  /** The answer, once the read is done. @throws what made it fail */
  get entry(): L1Entry {
    if (this.#entry === undefined) throw this.#error;
    return this.#entry;
  }

  get tier(): AnsweringTier {
    return this.#tier;
  }

  #end(): void {
    this.#isDone = true;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (Array.isArray(waiter)) for (const one of waiter) one.readDone(this);
    else waiter?.readDone(this);
  }
}

/** Resolves when all reads are done, with an answer or an error. */
export function allDone(reads: readonly PendingRead[]): Promise<void> {
  let open = reads.length;
  if (open === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const waiter: ReadWaiter = {
      readDone() {
        if (--open === 0) resolve();
      },
    };
    for (const read of reads) read.whenDone(waiter);
  });
}

/**
 * One read an id at a time, which all who ask for the id meanwhile join. Reads that begin in the same tick ask the tiers
 * together, so 10,000 concurrent gets are 20 requests to L2.
 *
 * The way of a read: L2, then the filter, then a replica, then L3; whatever answers is compared with the read's fence and delivered.
 */
export class PendingReads {
  readonly #open = new Map<string, PendingRead>();
  readonly #l1: MemoryTier<L1Entry>;
  readonly #floors: Floors;
  readonly #tiers: TierLookup;
  #starting: PendingRead[] = [];
  readonly #epochs: Epochs;
  readonly #counts = { refusedFills: 0, absent: 0 };

  constructor(l1: MemoryTier<L1Entry>, floors: Floors, tiers: TierLookup, epochs: Epochs) {
    this.#l1 = l1;
    this.#floors = floors;
    this.#tiers = tiers;
    this.#epochs = epochs;
    // A read may have asked L2 before a version that has settled now was written there.
    floors.listen((id, stamps) => this.raiseFence(id, stamps));
  }

  /** Answers that were too old to be kept in L1, and ids that the filter proved absent. */
  get counts(): { readonly refusedFills: number; readonly absent: number } {
    return this.#counts;
  }

  joinOrBegin(id: string): PendingRead {
    const open = this.#open.get(id);
    if (open !== undefined) return open;
    const read = new PendingRead(id, this.#epochs.of(id));
    this.#open.set(id, read);
    if (this.#starting.push(read) === 1) queueMicrotask(() => this.#start());
    return read;
  }

  /** A change of `id` was heard of. */
  raiseFence(id: string, change: Stamps): void {
    this.#open.get(id)?.raiseFence(change);
  }

  /** Changes may have been missed: open reads of the epoch still answer those who wait, but nobody joins them and L1 does not serve their answers. */
  endEpoch(ended: Epoch): void {
    for (const read of this.#open.values()) {
      if (read.epoch !== ended) continue;
      // From now on the feed does not raise its fence, and another read of the id may answer before it.
      read.whenDone({ readDone: this.#floors.beginReading() });
      read.isJoinable = false;
      this.#open.delete(read.id);
    }
  }

  #start(): void {
    const reads = this.#starting;
    this.#starting = [];
    this.#run(reads).catch((error: unknown) => {
      for (const read of reads) if (!read.isDone) this.#fail(read, error);
    });
  }

  async #run(reads: readonly PendingRead[]): Promise<void> {
    let open = reads;
    for (let round = 1; open.length > 0; round++) {
      open = await this.#askL2(open);
      open = await this.#askFilter(open);
      // What a replica did not have new enough, the primary is asked for.
      if (round === 1) open = await this.#askReplicas(open);
      open = await this.#askL3(open, round >= ROUND_THAT_TAKES_OLD);
    }
  }

  /** Returns the reads that L2 did not answer. */
  async #askL2(reads: readonly PendingRead[]): Promise<PendingRead[]> {
    const open: PendingRead[] = [];
    await forEachAnswer(this.#tiers.fromL2(reads), ({ asked, answers }) => {
      for (let i = 0; i < asked.length; i++) {
        const read = asked[i] as PendingRead;
        const copy = answers?.[i];
        if (copy !== undefined && this.#deliver(read, copy, 'l2')) continue;
        read.copyState = copy !== undefined ? 'outdated' : answers !== undefined ? 'missing' : 'unknown';
        open.push(read);
      }
    });
    return open;
  }

  /** Returns the reads whose ids may have a row. */
  async #askFilter(reads: readonly PendingRead[]): Promise<readonly PendingRead[]> {
    const absent = await this.#tiers.provenAbsent(reads.filter(({ copyState }) => copyState !== 'outdated'));
    if (absent.size === 0) return reads;
    return reads.filter((read) => {
      if (!absent.has(read.id) || !this.#deliver(read, undefined, 'none')) return true;
      this.#counts.absent++;
      return false;
    });
  }

  /** Returns the reads that no replica answered. */
  async #askReplicas(reads: readonly PendingRead[]): Promise<readonly PendingRead[]> {
    const asking = this.#tiers.fromReplicas(reads);
    if (asking.length === 0) return reads;
    const open: PendingRead[] = [];
    await forEachAnswer(asking, ({ asked, answers }) => {
      for (let i = 0; i < asked.length; i++) {
        const read = asked[i] as PendingRead;
        const answer = answers[i];
        // The row of a replica is a row of L3.
        if (answer === undefined || !this.#deliver(read, answer.row, 'l3')) open.push(read);
      }
    });
    return open;
  }

  /**
   * Returns the reads that must be asked again.
   * @param takesOld an answer that is too old is taken all the same, unless the fence has risen since L3 was asked
   */
  async #askL3(reads: readonly PendingRead[], takesOld: boolean): Promise<PendingRead[]> {
    const again: PendingRead[] = [];
    const fences = takesOld ? new Map(reads.map((read) => [read, this.#lowestFor(read)])) : undefined;
    await forEachAnswer(this.#tiers.fromL3(reads), ({ asked, answers, error, look }) => {
      const missing: StoredItem[] = [];
      const outdated: StoredItem[] = [];
      for (let i = 0; i < asked.length; i++) {
        const read = asked[i] as PendingRead;
        const row = answers?.[i];
        const fence = fences?.get(read);
        const evenIfOld = fence !== undefined && isSame(fence, this.#lowestFor(read));
        if (answers === undefined) this.#fail(read, error);
        else if (!this.#deliver(read, row, 'l3', evenIfOld)) again.push(read);
        else if (row !== undefined && read.copyState === 'missing') missing.push(row);
        else if (row !== undefined && read.copyState === 'outdated') outdated.push(row);
      }
      this.#tiers.copyToL2(missing, outdated, look);
    });
    return again;
  }

  /**
   * Ends the read with this answer, and keeps the answer in L1. An answer older than the fence, or than what this process
   * has given out, is refused.
   * @param evenIfOld an answer that is too old is taken, because there is no better one; it is given out once and never served from L1
   * @returns whether the answer was taken
   */
  #deliver(
    read: PendingRead,
    answer: StoredItem | undefined,
    tier: AnsweringTier,
    evenIfOld = false,
  ): boolean {
    const floor = this.#floors.of(read.id);
    const isOld = isBelow(answer, read.fence) || (floor !== undefined && isBelow(answer, floor));
    if (isOld) {
      this.#counts.refusedFills++;
      if (!evenIfOld) return false;
      this.#floors.forget(read.id);
    }
    // What lives in L2 only may be there: an absence that L2 was not asked about is given out once and never served from L1.
    const isUnsure = answer === undefined && read.copyState === 'unknown';
    const entry = entryOf(answer, isOld || isUnsure ? NEVER : read.epoch);
    // Nothing tells of the end of a copy that lives in L2 only: L1 would go on serving it.
    if (answer?.tiers !== 'cache') this.#l1.set(read.id, entry, bytesOf(answer));
    this.#close(read);
    // Without an item no tier had it.
    read.answer(entry, entry.item === undefined ? 'none' : tier);
    return true;
  }

  #fail(read: PendingRead, error: unknown): void {
    this.#close(read);
    read.fail(error);
  }

  /** What an answer must not be older than, as known now. */
  #lowestFor(read: PendingRead): Stamps {
    return newestOf(read.fence, this.#floors.of(read.id));
  }

  #close(read: PendingRead): void {
    // Of one that cannot be joined the map may hold a later read of the id.
    if (read.isJoinable) this.#open.delete(read.id);
  }
}

/** Uses each answer as soon as it is there. */
async function forEachAnswer<T>(answers: readonly Promise<T>[], use: (answer: T) => void): Promise<void> {
  await Promise.all(answers.map(async (answer) => use(await answer)));
}

function isSame(a: Stamps, b: Stamps): boolean {
  return !isAbove(a, b) && !isAbove(b, a);
}
