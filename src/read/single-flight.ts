import type { Stamp } from '../clock.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import { type AnsweringTier, Flight } from './flight.ts';
import type { Floors } from './floors.ts';
import { bytesOf, type Held, heldOf, isBelow, NEVER, newestOf, type Stamps } from './held.ts';

/** Takes flights through the tiers and hands each answer to `land` or `fail`. */
export interface Route {
  fly(flights: readonly Flight[], lander: Lander): Promise<void>;
}

/**
 * `stale`: the answer is older than the flight's fence or than what this process has given out, so another must be
 * fetched; with `final` there is no other, and what L3 says is taken.
 */
export type Landing = 'landed' | 'stale';

export interface Lander {
  land(flight: Flight, answer: StoredItem | undefined, tier: AnsweringTier, final: boolean): Landing;
  /** What an answer must not be older than, as known now. */
  floorOf(flight: Flight): Stamps;
  fail(flight: Flight, error: unknown): void;
}

/**
 * One flight an id at a time: whoever asks for an id that is being read waits for that read. Flights that begin in one
 * run of the event loop's current work leave together, so 10,000 concurrent gets are 20 MGETs.
 */
export class SingleFlight implements Lander {
  readonly #open = new Map<string, Flight>();
  readonly #l1: MemoryTier<Held>;
  readonly #floors: Floors;
  readonly #route: Route;
  #boarding: Flight[] = [];
  #epoch = 0;
  #refusedFills = 0;

  constructor(l1: MemoryTier<Held>, floors: Floors, route: Route) {
    this.#l1 = l1;
    this.#floors = floors;
    this.#route = route;
  }

  /** Answers that came too late to be kept in L1. */
  get refusedFills(): number {
    return this.#refusedFills;
  }

  join(id: string): Flight {
    const open = this.#open.get(id);
    if (open !== undefined) return open;
    const flight = new Flight(id, this.#epoch);
    this.#open.set(id, flight);
    if (this.#boarding.push(flight) === 1) queueMicrotask(() => this.#depart());
    return flight;
  }

  /** The feed told of a change of `id`. */
  raise(id: string, contentVersion: Stamp, stateVersion: Stamp): void {
    this.#open.get(id)?.raise(contentVersion, stateVersion);
  }

  /** Changes may have been missed: what is under way may end for those who wait, but nobody joins it and L1 does not keep it. */
  startEpoch(epoch: number): void {
    this.#epoch = epoch;
    // From now on the feed does not raise their fences, and another read of the id may answer before them.
    for (const flight of this.#open.values()) flight.onEnd(this.#floors.beginReading());
    this.#open.clear();
  }

  land(flight: Flight, answer: StoredItem | undefined, tier: AnsweringTier, final: boolean): Landing {
    const floor = this.#floors.of(flight.id);
    const stale = isBelow(answer, flight) || (floor !== undefined && isBelow(answer, floor));
    if (stale) this.#refusedFills++;
    if (stale && !final) return 'stale';
    if (stale) this.#floors.forget(flight.id);
    // An answer below the fence is never served from L1, nor is one whose epoch has passed.
    const held = heldOf(answer, stale ? NEVER : flight.epoch);
    // Nothing tells of the end of a copy that lives in L2 only: L1 would go on serving it.
    if (answer?.tiers !== 'cache') this.#l1.set(flight.id, held, bytesOf(answer));
    this.#close(flight);
    flight.land(held, held.item === undefined ? 'none' : tier);
    return 'landed';
  }

  floorOf(flight: Flight): Stamps {
    return newestOf(flight, this.#floors.of(flight.id));
  }

  fail(flight: Flight, error: unknown): void {
    this.#close(flight);
    flight.fail(error);
  }

  /** A flight of an earlier epoch is not in the map any more; another of its id may be. */
  #close(flight: Flight): void {
    if (flight.epoch === this.#epoch) this.#open.delete(flight.id);
  }

  #depart(): void {
    const flights = this.#boarding;
    this.#boarding = [];
    this.#route.fly(flights, this).catch((error: unknown) => {
      for (const flight of flights) if (!flight.ended) this.fail(flight, error);
    });
  }
}
