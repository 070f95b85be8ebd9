import type { Differences } from './differences.ts';

/** A number as found, and as it must be. */
export interface Check {
  readonly what: string;
  readonly found: number;
  readonly expected: number;
}

/** The counts of the report, in its order. A wrong one is a difference. */
export class Checks {
  readonly all: Check[] = [];
  readonly #differences: Differences;

  constructor(differences: Differences) {
    this.#differences = differences;
  }

  add(what: string, found: number, expected: number): void {
    this.all.push({ what, found, expected });
    if (found !== expected) this.#differences.add(`${what}: ${found}, expected ${expected}`);
  }
}
