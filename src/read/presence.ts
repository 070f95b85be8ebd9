import pLimit, { type LimitFunction } from 'p-limit';
import type { Config } from '../config.ts';
import { TierUnavailableError } from '../errors.ts';
import type { StoredHead } from '../schema/stored-item.ts';
import type { PostgresTier } from '../tiers/postgres.ts';
import type { RedisTier } from '../tiers/redis.ts';
import type { Floors } from './floors.ts';
import { isBelow } from './l1-entry.ts';
import type { TrustedFilter } from './trusted-filter.ts';

/** Rounds through L3 for ids of which other reads give out newer versions all the time. */
const MAX_ROUNDS = 3;

interface Question {
  readonly id: string;
  readonly resolve: (exists: boolean) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Whether ids exist, as proven now (I7): a copy in L2, or a tombstone there, is an answer; otherwise a filter that lacks the
 * id is one if the feed's head, asked in the same round trip, holds nothing it has not seen; otherwise Postgres is asked.
 * Nothing that cannot be asked is taken for a no. Questions of one moment share the round trip.
 */
export class Presence {
  readonly #floors: Floors;
  readonly #l2: RedisTier;
  readonly #l3: PostgresTier;
  readonly #filter: TrustedFilter;
  readonly #limit: LimitFunction;
  readonly #chunkItems: number;
  #waiting: Question[] = [];
  #absent = 0;

  constructor(floors: Floors, l2: RedisTier, l3: PostgresTier, filter: TrustedFilter, config: Config) {
    this.#floors = floors;
    this.#l2 = l2;
    this.#l3 = l3;
    this.#filter = filter;
    this.#limit = pLimit(config.readConcurrency);
    this.#chunkItems = config.readChunkItems;
  }

  /** Ids that were proven absent without SQL. */
  get absent(): number {
    return this.#absent;
  }

  /** @throws TierUnavailableError of L3 when it alone could tell and cannot be asked */
  exists(id: string): Promise<boolean> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.push({ id, resolve, reject }) === 1) queueMicrotask(() => this.#depart());
    });
  }

  #depart(): void {
    const questions = this.#waiting;
    this.#waiting = [];
    for (let at = 0; at < questions.length; at += this.#chunkItems) {
      const chunk = questions.slice(at, at + this.#chunkItems);
      this.#limit(() => this.#answerChunk(chunk)).catch((error: unknown) => {
        for (const { reject } of chunk) reject(error);
      });
    }
  }

  /** An answer older than what other reads give out meanwhile is asked for again. */
  async #answerChunk(questions: readonly Question[]): Promise<void> {
    const endReading = this.#floors.beginReading();
    try {
      await this.#answer(questions);
    } finally {
      endReading();
    }
  }

  async #answer(questions: readonly Question[]): Promise<void> {
    const ids = questions.map(({ id }) => id);
    const [copies, atHead] = await Promise.all([
      this.#copies(ids),
      this.#filter.isTrusted ? this.#filter.head() : () => false,
    ]);
    const open: Question[] = [];
    questions.forEach((question, i) => {
      const copy = this.#current(question.id, copies[i]);
      if (copy !== undefined) {
        question.resolve(copy.kind !== 'deleted');
      } else if (atHead() && this.#filter.lacks(question.id)) {
        this.#absent++;
        question.resolve(false);
      } else {
        open.push(question);
      }
    });
    await this.#askL3(open);
  }

  async #askL3(questions: readonly Question[]): Promise<void> {
    let open = questions;
    for (let round = 1; open.length > 0; round++) {
      const rows = await this.#l3.getHeads(open.map(({ id }) => id));
      const older: Question[] = [];
      open.forEach((question, i) => {
        const row = rows[i];
        const floor = this.#floors.of(question.id);
        if (round < MAX_ROUNDS && floor !== undefined && isBelow(row, floor)) {
          older.push(question);
          return;
        }
        if (row !== undefined) this.#floors.given(question.id, row);
        question.resolve(row !== undefined && row.kind !== 'deleted');
      });
      open = older;
    }
  }

  /** An L2 that cannot be asked answers nothing. */
  async #copies(ids: readonly string[]): Promise<readonly (StoredHead | undefined)[]> {
    try {
      return await this.#l2.getHeads(ids);
    } catch (error) {
      if (!(error instanceof TierUnavailableError)) throw error;
      return [];
    }
  }

  /** A copy that settles the question: not a fence, and not older than what this process knows. */
  #current(id: string, copy: StoredHead | undefined): StoredHead | undefined {
    if (copy === undefined || copy.kind === 'fence') return undefined;
    const floor = this.#floors.of(id);
    return floor !== undefined && isBelow(copy, floor) ? undefined : copy;
  }
}
