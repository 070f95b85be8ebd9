import type { CallGate } from '../call-gate.ts';
import { unreadable } from '../schema/checked.ts';
import { parseId } from '../schema/item.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { Item, Lookup, TierName } from '../types.ts';
import type { Coherence } from './coherence.ts';
import { allEnded, type Flight } from './flight.ts';
import type { Floors } from './floors.ts';
import { type Held, isBelow } from './held.ts';
import { isComplete, type PendingItem, type PendingView, withPending } from './pending-view.ts';
import type { SingleFlight } from './single-flight.ts';

/** Reads by id: own writes on their way, L1, and a flight through the tiers for the rest. */
export class ItemReads {
  readonly #l1: MemoryTier<Held>;
  readonly #floors: Floors;
  readonly #coherence: Coherence;
  readonly #flights: SingleFlight;
  readonly #pending: PendingView;
  readonly #gate: CallGate;
  #hits = 0;
  #misses = 0;

  constructor(
    l1: MemoryTier<Held>,
    floors: Floors,
    coherence: Coherence,
    flights: SingleFlight,
    pending: PendingView,
    gate: CallGate,
  ) {
    this.#gate = gate;
    this.#l1 = l1;
    this.#floors = floors;
    this.#coherence = coherence;
    this.#flights = flights;
    this.#pending = pending;
  }

  get counts(): { hits: number; misses: number } {
    return { hits: this.#hits, misses: this.#misses };
  }

  /** One promise a call, hit or miss, and no async function. An id in L1 is valid, so a hit needs no check. */
  get(id: string): Promise<Item | undefined> {
    if (this.#ownOf(id) !== undefined) return this.#find(id, undefined).then(itemOf);
    const held = this.#serve(id);
    return held === undefined ? this.#fetch(id) : Promise.resolve(held.item);
  }

  #fetch(id: string): Promise<Item | undefined> {
    return new Promise((resolve, reject) => {
      const flight = this.#flights.join(parseId(id));
      flight.onEnd(() => {
        try {
          resolve(this.#overlaid(id, flight.held));
        } catch (error) {
          reject(this.#gate.reasonFor(error));
        }
      });
    });
  }

  /** What the tiers answered, under a write of this process that was accepted meanwhile: another call may have given it out. */
  #overlaid(id: string, held: Held | undefined): Item | undefined {
    const own = this.#ownOf(id);
    return own === undefined ? held?.item : withPending(id, held, own);
  }

  lookup(id: string): Promise<Lookup> {
    return this.#find(id, this.#ownOf(id) === undefined ? this.#serve(id) : undefined);
  }

  peek(id: string): Item | undefined {
    const held = this.#l1.peek(id);
    // An id in L1 is valid.
    if (held === undefined) parseId(id);
    const served = held !== undefined && held.epoch === this.#coherence.serving ? held : undefined;
    const own = this.#ownOf(id);
    if (own === undefined) return served?.item;
    return served !== undefined || this.#isAnswer(id, own) ? withPending(id, served, own) : undefined;
  }

  async getMany(given: readonly string[]): Promise<(Item | undefined)[]> {
    // The caller may change its list while the tiers are asked.
    const ids = copyOf(given);
    const answers = Array.from<Held | undefined>({ length: ids.length });
    let open: number[] = [];
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as string;
      const own = this.#ownOf(id);
      if (own !== undefined && this.#isAnswer(id, own)) continue;
      answers[i] = this.#serve(id);
      if (answers[i] === undefined) open.push(i);
    }
    if (open.length === 0) return ids.map((id, i) => this.#overlaid(id, answers[i]));
    const endReading = this.#floors.beginReading();
    try {
      while (open.length > 0) {
        const flights = open.map((i) => this.#flights.join(parseId(ids[i] as string)));
        await allEnded(flights);
        for (let k = 0; k < open.length; k++) answers[open[k] as number] = (flights[k] as Flight).held;
        open = this.#outdated(ids, answers);
      }
    } finally {
      endReading();
    }
    return ids.map((id, i) => this.#overlaid(id, answers[i]));
  }

  /**
   * Answers that came before others of the same call and have changed since: another call may have given out the newer
   * ones by now. Those that L1 can put right are; returned are the places of the rest, fewer each time.
   */
  #outdated(ids: readonly string[], answers: (Held | undefined)[]): number[] {
    const open: number[] = [];
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as string;
      const floor = this.#floors.of(id);
      const answer = answers[i];
      const own = this.#ownOf(id);
      if (own !== undefined && this.#isAnswer(id, own)) continue;
      if (answer !== undefined && (floor === undefined || !isBelow(answer, floor))) continue;
      const known = this.#l1.peek(id);
      if (known?.epoch === this.#coherence.serving) answers[i] = known;
      else open.push(i);
    }
    return open;
  }

  /** Whether L1 would answer with an item. */
  isServed(id: string): boolean {
    const held = this.#l1.peek(id);
    return held?.item !== undefined && held.epoch === this.#coherence.serving;
  }

  /** Every entry that L1 would give out, known absence included. */
  *served(): IterableIterator<[id: string, held: Held]> {
    for (const [id, { value }] of this.#l1.entries()) {
      if (value.epoch === this.#coherence.serving) yield [id, value];
    }
  }

  /** @param served what L1 has just given, so that it is counted once. */
  async #find(id: string, served: Held | undefined): Promise<Lookup> {
    const before = this.#ownOf(id);
    if (before !== undefined && this.#isAnswer(id, before)) {
      return found(withPending(id, undefined, before), 'pending');
    }
    let held = served ?? (before === undefined ? undefined : this.#serve(id));
    let tier: TierName = 'l1';
    if (held === undefined) {
      const flight = this.#flights.join(parseId(id));
      await allEnded([flight]);
      ({ held, tier } = flight);
    }
    const item = this.#overlaid(id, held);
    return found(item, item === held.item ? tier : 'pending');
  }

  #serve(id: string): Held | undefined {
    const held = this.#l1.get(id);
    if (held !== undefined && held.epoch === this.#coherence.serving) {
      this.#hits++;
      return held;
    }
    this.#misses++;
    return undefined;
  }

  #ownOf(id: string): PendingItem | undefined {
    return this.#pending.size === 0 ? undefined : this.#pending.get(id);
  }

  /** Whether an own write says everything: no tier could add to it, and none is known to have newer. */
  #isAnswer(id: string, own: PendingItem): boolean {
    if (!isComplete(own)) return false;
    const floor = this.#floors.of(id);
    return (
      floor === undefined ||
      (own.contentVersion > floor.contentVersion && own.stateVersion > floor.stateVersion)
    );
  }
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
