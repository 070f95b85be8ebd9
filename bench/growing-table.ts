import { Digester } from '../src/merkle/digest.ts';
import type { NewItem } from '../src/types/write.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { Random } from '../test/helpers/random.ts';
import { documentAt } from './documents.ts';
import { fill } from './stored-documents.ts';

const FIRST_STAMP = 1_700_000_000_000_000;

/** Writes of one kind each, as many of each. No id stands twice in one kind. */
export interface Step {
  readonly updated: readonly NewItem[];
  readonly inserted: readonly NewItem[];
  readonly deleted: readonly string[];
}

/** A table of documents that grows, and which of them are live. Choices are repeatable, and spread over the whole table. */
export class GrowingTable {
  readonly #deployment: Deployment;
  readonly #random = new Random(1);
  readonly #digester = new Digester();
  readonly #live: number[] = [];
  #next = 0;

  constructor(deployment: Deployment) {
    this.#deployment = deployment;
  }

  /** Stores as many documents as are missing, with their hash tree. They have no copies in L2. */
  async growTo(size: number): Promise<void> {
    const from = this.#next;
    const count = size - this.#live.length;
    this.#next += count;
    for (let i = from; i < this.#next; i++) this.#live.push(i);
    await fill([this.#deployment.pool], count, FIRST_STAMP + from, this.#digester, (i) =>
      documentAt(from + i),
    );
  }

  /** What to write next, as if each step had been written when the next one is asked for. */
  step(count: number): Step {
    const updated = this.choose(count);
    const inserted = Array.from({ length: count }, () => {
      this.#live.push(this.#next);
      return documentAt(this.#next++);
    });
    const deleted = this.choose(count).map(({ id }) => id);
    this.#live.length -= count;
    return { updated, inserted, deleted };
  }

  /** Different live documents at random. */
  choose(count: number): NewItem[] {
    const first = this.#live.length - count;
    for (let to = this.#live.length - 1; to >= first; to--) {
      const from = this.#random.upTo(to + 1) - 1;
      [this.#live[to], this.#live[from]] = [this.#live[from] as number, this.#live[to] as number];
    }
    return this.#live.slice(first).map((i) => documentAt(i));
  }
}
