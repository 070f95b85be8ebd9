import type { Stamp } from '../clock.ts';
import type { Held, Stamps } from './held.ts';

/** Where a flight found its answer. */
export type AnsweringTier = 'l2' | 'l3' | 'none';

/**
 * One read of one id on its way through the tiers, shared by all who ask for the id meanwhile. Its fence: the epoch in
 * which it began, and the newest change that the feed told of while it was under way. What it brings home must not be
 * older than that.
 */
export class Flight implements Stamps {
  readonly id: string;
  readonly epoch: number;
  contentVersion: Stamp = 0;
  stateVersion: Stamp = 0;
  #held: Held | undefined;
  #tier: AnsweringTier = 'none';
  #error: unknown;
  #ended = false;
  /** Nearly always one, so a list is made for the second. */
  #waiter: (() => void) | (() => void)[] | undefined;

  constructor(id: string, epoch: number) {
    this.id = id;
    this.epoch = epoch;
  }

  /** The feed told of a change. */
  raise(contentVersion: Stamp, stateVersion: Stamp): void {
    if (contentVersion > this.contentVersion) this.contentVersion = contentVersion;
    if (stateVersion > this.stateVersion) this.stateVersion = stateVersion;
  }

  land(held: Held, tier: AnsweringTier): void {
    this.#held = held;
    this.#tier = tier;
    this.#end();
  }

  fail(error: unknown): void {
    this.#error = error;
    this.#end();
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Calls back once, when the flight has ended. */
  onEnd(waiter: () => void): void {
    if (this.#ended) waiter();
    else if (this.#waiter === undefined) this.#waiter = waiter;
    else if (Array.isArray(this.#waiter)) this.#waiter.push(waiter);
    else this.#waiter = [this.#waiter, waiter];
  }

  /** What it brought, once it has ended. @throws what made it fail */
  get held(): Held {
    if (this.#held === undefined) throw this.#error;
    return this.#held;
  }

  get tier(): AnsweringTier {
    return this.#tier;
  }

  #end(): void {
    this.#ended = true;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (Array.isArray(waiter)) for (const wake of waiter) wake();
    else waiter?.();
  }
}

/** Resolves when all flights have ended, however they ended. */
export function allEnded(flights: readonly Flight[]): Promise<void> {
  let open = flights.length;
  if (open === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const count = () => {
      if (--open === 0) resolve();
    };
    for (const flight of flights) flight.onEnd(count);
  });
}
