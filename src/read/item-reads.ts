import type { CallGate } from '../call-gate.ts';
import { parseId, unreadable } from '../schema/item.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { Item, Lookup, TierName } from '../types/read.ts';
import type { Floors } from './floors.ts';
import { isBelow, type L1Entry } from './l1-entry.ts';
import { isComplete, type OwnWrite, type OwnWriteView, withOwnWrite } from './own-writes.ts';
import { allDone, type PendingRead, type PendingReads, type ReadWaiter } from './pending-reads.ts';

/**
 * Reads by id. In this order: a write of this process that has not settled answers when it says everything; then L1; then a
 * pending read asks the other tiers, and every call for the same id waits for that one. The own write is put over what
 * they answered.
 */
export class ItemReads {
  readonly #l1: MemoryTier<L1Entry>;
  readonly #floors: Floors;
  readonly #pendingReads: PendingReads;
  readonly #ownWrites: OwnWriteView;
  readonly #gate: CallGate;
  #hits = 0;
  #misses = 0;

  constructor(
    l1: MemoryTier<L1Entry>,
    floors: Floors,
    pendingReads: PendingReads,
    ownWrites: OwnWriteView,
    gate: CallGate,
  ) {
    this.#gate = gate;
    this.#l1 = l1;
    this.#floors = floors;
    this.#pendingReads = pendingReads;
    this.#ownWrites = ownWrites;
  }

  get counts(): { hits: number; misses: number } {
    return { hits: this.#hits, misses: this.#misses };
  }

  /** One promise a call, hit or miss, and no async function. An id in L1 is valid, so a hit needs no check. */
  get(id: string): Promise<Item | undefined> {
    if (this.#ownOf(id) !== undefined) return this.#find(id, undefined).then(itemOf);
    const entry = this.#fromL1(id);
    return entry === undefined ? this.#fromTiers(id) : Promise.resolve(entry.item);
  }

  #fromTiers(id: string): Promise<Item | undefined> {
    // What `parseId` throws rejects the promise.
    return new Promise((resolve) => {
      this.#pendingReads.joinOrBegin(parseId(id)).whenDone(new SingleGet(this.#answerOf, resolve));
    });
  }

  /** What a read gives to those who asked for its id alone. */
  readonly #answerOf = (read: PendingRead): Answer => {
    try {
      // `read.entry` throws what made the read fail.
      return this.#withOwn(read.id, read.entry);
    } catch (error) {
      return Promise.reject(this.#gate.reasonFor(error));
    }
  };

  /** Another call may have given out an own write that was accepted while the tiers were asked. So it is looked up again. */
  #withOwn(id: string, entry: L1Entry | undefined): Item | undefined {
    const own = this.#ownOf(id);
    return own === undefined ? entry?.item : withOwnWrite(id, entry, own);
  }

  lookup(id: string): Promise<Lookup> {
    return this.#find(id, this.#ownOf(id) === undefined ? this.#fromL1(id) : undefined);
  }

  peek(id: string): Item | undefined {
    const entry = this.#l1.peek(id);
    // An id in L1 is valid.
    if (entry === undefined) parseId(id);
    const served = entry?.epoch.isServed === true ? entry : undefined;
    const own = this.#ownOf(id);
    if (own === undefined) return served?.item;
    return served !== undefined || this.#isAnswer(id, own) ? withOwnWrite(id, served, own) : undefined;
  }

  async getMany(given: readonly string[]): Promise<(Item | undefined)[]> {
    // The caller may change its list while the tiers are asked.
    const ids = copyOf(given);
    const answers = Array.from<L1Entry | undefined>({ length: ids.length });
    let open: number[] = [];
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as string;
      const own = this.#ownOf(id);
      if (own !== undefined && this.#isAnswer(id, own)) continue;
      answers[i] = this.#fromL1(id);
      if (answers[i] === undefined) open.push(i);
    }
    if (open.length === 0) return ids.map((id, i) => this.#withOwn(id, answers[i]));
    const endReading = this.#floors.beginReading();
    const served = servedOf(ids, answers);
    const watch = this.#floors.watch(served);
    // L1 lags behind the feed, so it may have given what is older than all that had settled when this call began.
    const isBehind = (id: string, answer: L1Entry) => answer === served.get(id) && watch.isOutdated(id);
    try {
      while (open.length > 0) {
        const reads = open.map((i) => this.#pendingReads.joinOrBegin(parseId(ids[i] as string)));
        await allDone(reads);
        for (let k = 0; k < open.length; k++) answers[open[k] as number] = (reads[k] as PendingRead).entry;
        open = this.#outdated(ids, answers, isBehind);
      }
    } finally {
      watch.end();
      endReading();
    }
    return ids.map((id, i) => this.#withOwn(id, answers[i]));
  }

  /**
   * Compares the answers of one call with the floors once more. An answer that came early may have changed while the others
   * were read, and another call may have given out the newer version. L1 replaces such an answer when it can. Returns the
   * places of the others, fewer each time.
   * @param isBehind whether it is an answer of L1 that was replaced meanwhile
   */
  #outdated(
    ids: readonly string[],
    answers: (L1Entry | undefined)[],
    isBehind: (id: string, answer: L1Entry) => boolean,
  ): number[] {
    const open: number[] = [];
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as string;
      const floor = this.#floors.of(id);
      const answer = answers[i];
      const own = this.#ownOf(id);
      if (own !== undefined && this.#isAnswer(id, own)) continue;
      const isNew = answer !== undefined && (floor === undefined || !isBelow(answer, floor));
      if (isNew && !isBehind(id, answer)) continue;
      const known = this.#l1.peek(id);
      if (known?.epoch.isServed === true) answers[i] = known;
      else open.push(i);
    }
    return open;
  }

  /** Whether L1 would answer with an item. */
  isServed(id: string): boolean {
    const entry = this.#l1.peek(id);
    return entry?.item !== undefined && entry.epoch.isServed;
  }

  /** Every entry that L1 would give out, known absence included. */
  *served(): IterableIterator<[id: string, entry: L1Entry]> {
    for (const [id, { value }] of this.#l1.entries()) {
      if (value.epoch.isServed) yield [id, value];
    }
  }

  /** @param served the entry that L1 has just given, so that the hit is counted once */
  async #find(id: string, served: L1Entry | undefined): Promise<Lookup> {
    const before = this.#ownOf(id);
    if (before !== undefined && this.#isAnswer(id, before)) {
      return found(withOwnWrite(id, undefined, before), 'pending');
    }
    let entry = served ?? (before === undefined ? undefined : this.#fromL1(id));
    let tier: TierName = 'l1';
    if (entry === undefined) {
      const read = this.#pendingReads.joinOrBegin(parseId(id));
      await allDone([read]);
      ({ entry, tier } = read);
    }
    const item = this.#withOwn(id, entry);
    return found(item, item === entry.item ? tier : 'pending');
  }

  #fromL1(id: string): L1Entry | undefined {
    const entry = this.#l1.get(id);
    if (entry !== undefined && entry.epoch.isServed) {
      this.#hits++;
      return entry;
    }
    this.#misses++;
    return undefined;
  }

  #ownOf(id: string): OwnWrite | undefined {
    return this.#ownWrites.size === 0 ? undefined : this.#ownWrites.get(id);
  }

  /** Whether the own write says everything: it has content and state, and no tier is known to have a newer version. */
  #isAnswer(id: string, own: OwnWrite): boolean {
    if (!isComplete(own)) return false;
    const floor = this.#floors.of(id);
    return (
      floor === undefined ||
      (own.contentVersion > floor.contentVersion && own.stateVersion > floor.stateVersion)
    );
  }
}

/** What `resolve` of a promise is called with: the item, or a rejected promise when the read has failed. */
type Answer = Item | undefined | Promise<never>;

/** One call of `get`. It is one object that keeps one function, because 10,000 calls at once make much garbage. */
class SingleGet implements ReadWaiter {
  readonly #answerOf: (read: PendingRead) => Answer;
  readonly #resolve: (answer: Answer) => void;

  constructor(answerOf: (read: PendingRead) => Answer, resolve: (answer: Answer) => void) {
    this.#answerOf = answerOf;
    this.#resolve = resolve;
  }

  readDone(read: PendingRead): void {
    this.#resolve(this.#answerOf(read));
  }
}

/** What L1 has answered, by id. */
function servedOf(ids: readonly string[], answers: readonly (L1Entry | undefined)[]): Map<string, L1Entry> {
  const served = new Map<string, L1Entry>();
  answers.forEach((answer, i) => {
    if (answer !== undefined) served.set(ids[i] as string, answer);
  });
  return served;
}

/** @throws InvalidItemError when the list cannot be read */
function copyOf(ids: readonly string[]): string[] {
  try {
    return ids.slice();
  } catch (cause) {
    throw unreadable('ids', cause);
  }
}

function found(item: Item | undefined, tier: TierName): Lookup {
  return item === undefined ? { found: false, tier: 'none' } : { found: true, item, tier };
}

function itemOf(lookup: Lookup): Item | undefined {
  return lookup.item;
}
