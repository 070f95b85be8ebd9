import pLimit, { type LimitFunction } from 'p-limit';
import type { Config } from '../config.ts';
import { TierUnavailableError } from '../errors.ts';
import type { StoredHead } from '../schema/stored-item.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type { PostgresTier } from '../tiers/postgres.ts';
import type { RedisTier } from '../tiers/redis.ts';
import { type Held, isBelow } from './held.ts';
import type { TrustedFilter } from './trusted-filter.ts';

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
  readonly #l1: MemoryTier<Held>;
  readonly #l2: RedisTier;
  readonly #l3: PostgresTier;
  readonly #filter: TrustedFilter;
  readonly #limit: LimitFunction;
  readonly #chunkItems: number;
  #waiting: Question[] = [];
  #absent = 0;

  constructor(l1: MemoryTier<Held>, l2: RedisTier, l3: PostgresTier, filter: TrustedFilter, config: Config) {
    this.#l1 = l1;
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
      this.#limit(() => this.#answer(chunk)).catch((error: unknown) => {
        for (const { reject } of chunk) reject(error);
      });
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
        question.resolve(copy.kind !== 'd');
      } else if (atHead() && this.#filter.lacks(question.id)) {
        this.#absent++;
        question.resolve(false);
      } else {
        open.push(question);
      }
    });
    if (open.length === 0) return;
    const live = await this.#l3.liveAmong(open.map(({ id }) => id));
    for (const { id, resolve } of open) resolve(live.has(id));
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
    if (copy === undefined || copy.kind === 'x') return undefined;
    const known = this.#l1.peek(id);
    return known !== undefined && isBelow(copy, known) ? undefined : copy;
  }
}
