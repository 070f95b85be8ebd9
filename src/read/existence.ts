import pLimit, { type LimitFunction } from 'p-limit';
import { within } from '../abortable.ts';
import type { Config } from '../config.ts';
import { TierUnavailableError } from '../errors.ts';
import type { Lanes } from '../lanes.ts';
import type { Redis } from '../redis/client.ts';
import { pendingStamps } from '../redis/in-flight.ts';
import { type StoredHead, versionOf } from '../schema/stored-item.ts';
import type { CopyTier } from '../tiers/copy-tier.ts';
import type { PostgresTier } from '../tiers/postgres.ts';
import type { Replicas } from '../tiers/replicas.ts';
import type { Status } from '../types/read.ts';
import type { Floors } from './floors.ts';
import type { ItemReads } from './item-reads.ts';
import { isBelow } from './l1-entry.ts';
import type { OwnWriteView } from './own-writes.ts';
import type { AbsenceFilter } from './trusted-filter.ts';

/** How often L3 is asked again for an id of which other reads give out newer versions meanwhile. */
const MAX_ROUNDS = 3;

interface Question {
  readonly id: string;
  readonly resolve: (exists: boolean) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Tells whether ids exist, as proven now (I7). In this order:
 * - A copy in L2 answers yes, and a tombstone there answers no.
 * - A filter that lacks the id answers no, if it has seen every change up to the head of the feed. The head is asked for in
 *   the same round trip as L2.
 * - Otherwise a replica answers, if it has replayed enough, or else Postgres itself. A tier that cannot be asked is never taken for a no.
 *
 * Questions of one moment share a round trip.
 */
export class ExistenceCheck {
  readonly #floors: Floors;
  readonly #l2: CopyTier;
  readonly #l3: PostgresTier;
  readonly #filter: AbsenceFilter;
  readonly #replicas: Replicas | undefined;
  readonly #limit: LimitFunction;
  readonly #chunkItems: number;
  #waiting: Question[] = [];
  #absent = 0;

  constructor(
    floors: Floors,
    l2: CopyTier,
    l3: PostgresTier,
    filter: AbsenceFilter,
    config: Config,
    replicas?: Replicas,
  ) {
    this.#floors = floors;
    this.#l2 = l2;
    this.#l3 = l3;
    this.#filter = filter;
    this.#replicas = replicas;
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
      if (this.#waiting.push({ id, resolve, reject }) === 1) queueMicrotask(() => this.#start());
    });
  }

  #start(): void {
    const questions = this.#waiting;
    this.#waiting = [];
    for (let at = 0; at < questions.length; at += this.#chunkItems) {
      const chunk = questions.slice(at, at + this.#chunkItems);
      this.#limit(() => this.#answerChunk(chunk)).catch((error: unknown) => {
        for (const { reject } of chunk) reject(error);
      });
    }
  }

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
    const [copies, isAbsent] = await Promise.all([this.#copies(ids), this.#filter.proof(ids)]);
    const open: Question[] = [];
    questions.forEach((question, i) => {
      const copy = this.#current(question.id, copies[i]);
      if (copy !== undefined) {
        question.resolve(copy.kind !== 'deleted');
      } else if (isAbsent(question.id) && !this.#mayExist(question.id)) {
        this.#absent++;
        question.resolve(false);
      } else {
        open.push(question);
      }
    });
    await this.#askL3(await this.#askReplicas(open));
  }

  /** Returns the questions that no replica answered. */
  async #askReplicas(questions: readonly Question[]): Promise<readonly Question[]> {
    if (this.#replicas === undefined || questions.length === 0) return questions;
    const answers = await this.#replicas.getHeads(questions.map(({ id }) => id));
    return questions.filter(({ id, resolve }, i) => {
      const answer = answers[i];
      const floor = this.#floors.of(id);
      if (answer === undefined || (floor !== undefined && isBelow(answer.row, floor))) return true;
      if (answer.row !== undefined) this.#floors.given(id, answer.row);
      resolve(answer.row !== undefined && answer.row.kind !== 'deleted');
      return false;
    });
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

  /** This process has given out a version of the id, which may not have settled yet: the filter does not know it. */
  #mayExist(id: string): boolean {
    const floor = this.#floors.of(id);
    return floor !== undefined && isBelow(undefined, floor);
  }

  /** Undefined when the copy is no answer: of kind `fence`, or older than what this process knows. */
  #current(id: string, copy: StoredHead | undefined): StoredHead | undefined {
    if (copy === undefined || copy.kind === 'fence') return undefined;
    const floor = this.#floors.of(id);
    return floor !== undefined && isBelow(copy, floor) ? undefined : copy;
  }
}

export interface StatusParts {
  readonly queue: Redis;
  readonly lanes: Lanes;
  /** Milliseconds to wait for Redis. */
  readonly timeoutMs: number;
  readonly l2: CopyTier;
  readonly l3: PostgresTier;
  readonly floors: Floors;
  readonly reads: ItemReads;
  readonly ownWrites: OwnWriteView;
}

/**
 * Asks L2, L3 and the index of pending writes of all processes, all at once.
 * @throws TierUnavailableError of any of them
 */
export async function statusOf(id: string, parts: StatusParts): Promise<Status> {
  const endReading = parts.floors.beginReading();
  try {
    return await askStatus(id, parts);
  } finally {
    endReading();
  }
}

async function askStatus(id: string, parts: StatusParts): Promise<Status> {
  const { queue, lanes, timeoutMs, l2, l3, floors, reads, ownWrites } = parts;
  const [[stamp], [copy], [found]] = await Promise.all([
    within(timeoutMs, pendingStamps(queue, lanes.keysOf(id), [id])).catch((error: unknown) => {
      throw new TierUnavailableError('l2', error);
    }),
    l2.getHeads([id]),
    l3.getHeads([id]),
  ]);
  const floor = floors.of(id);
  // Another read may have given out a newer version meanwhile: Postgres has it by now.
  const [row] = floor !== undefined && isBelow(found, floor) ? await l3.getHeads([id]) : [found];
  if (row !== undefined) floors.given(id, row);
  const own = ownWrites.get(id);
  const waiting = Math.max(stamp ?? 0, own === undefined ? 0 : versionOf(own));
  const inL1 = reads.isServed(id);
  const inL2 = isLive(copy);
  const inL3 = isLive(row);
  if (waiting > 0) return { status: 'pending', version: waiting, inL1, inL2, inL3 };
  if (!inL2 && !inL3) return { status: 'missing' };
  const version = Math.max(inL2 ? versionOf(copy) : 0, inL3 ? versionOf(row) : 0);
  return { status: 'synced', version, inL1, inL2, inL3 };
}

/** Whether a copy or row has content. */
export function isLive<T extends StoredHead>(item: T | undefined): item is T {
  return item !== undefined && item.kind !== 'deleted' && item.kind !== 'fence';
}
