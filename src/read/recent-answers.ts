import { newestOf, type Stamps } from './held.ts';

interface Generation {
  readonly answers: Map<string, Stamps>;
  readings: number;
}

/**
 * What left L1 while readings were in progress. A reading that began before an answer was given out may have looked at a
 * tier before that answer's write; it compares what it found with this, so that it gives out nothing older (I6).
 *
 * There are two generations. A reading begins in the younger one, and answers are noted there. Once no reading of the older
 * generation is left, its answers are dropped and the younger one takes its place. So an answer is kept until every reading
 * that was in progress when it was noted has ended, and no longer than twice the longest reading, which has a time limit. With no
 * reading in progress nothing is kept.
 */
export class RecentAnswers {
  #older: Generation = { answers: new Map(), readings: 0 };
  #younger: Generation = { answers: new Map(), readings: 0 };

  get size(): number {
    return this.#older.answers.size + this.#younger.answers.size;
  }

  /** Call the returned function once, when the reading has ended. */
  begin(): () => void {
    const generation = this.#younger;
    generation.readings++;
    return () => {
      generation.readings--;
      this.#dropOld();
    };
  }

  note(id: string, stamps: Stamps): void {
    if (this.#older.readings + this.#younger.readings === 0) return;
    const { answers } = this.#younger;
    answers.set(id, newestOf(stamps, answers.get(id)));
  }

  of(id: string): Stamps | undefined {
    if (this.size === 0) return undefined;
    const younger = this.#younger.answers.get(id);
    const older = this.#older.answers.get(id);
    return younger === undefined ? older : newestOf(younger, older);
  }

  forget(id: string): void {
    this.#older.answers.delete(id);
    this.#younger.answers.delete(id);
  }

  /** Both when no reading is left at all. */
  #dropOld(): void {
    for (let turn = 0; turn < 2 && this.#older.readings === 0; turn++) {
      this.#older = this.#younger;
      this.#younger = { answers: new Map(), readings: 0 };
    }
  }
}
