import type { Stamp } from '../clock.ts';
import type { Logger } from '../log.ts';
import type { SeenVersion } from '../redis/in-flight.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import { floorOf, isAbove, isNewer, type L1Entry, newestOf, type Stamps } from './l1-entry.ts';

/** Milliseconds before Redis is asked about versions that may not have settled, and between two such questions. */
const CHECK_MS = 50;
/** The same while there are none and writes go on: the horizon gets no older than this. */
const HORIZON_MS = 1000;
/** Versions of one question: they take Redis 2 ms. */
const CHECK_VERSIONS = 2000;

/** Asks the queue's Redis which versions have settled. Rejects when it cannot be asked. */
export type SettledQuestion = (seen: readonly SeenVersion[]) => Promise<{
  /** Every version of the id with a stamp below it has settled. It never falls. */
  readonly horizonOf: (id: string) => Stamp;
  /** Whether each version has settled, in the order of the question. */
  readonly settled: readonly boolean[];
}>;

/**
 * How new an answer must be (I6). The *floor* of an id is the newest version that this process has given out, or that the feed has
 * told of while L1 held an older one. L1 keeps it with the entry. When L1 evicts the entry, the floor is kept here as long as it is
 * needed. It is needed in three cases:
 *
 * - **The version has not settled.** Postgres has a write before L2 and the feed do, so a later read of L2 could be older. The
 *   floor stays until the feed announces that version or a newer one, or until Redis says that it has settled.
 * - **A reading is in progress** that began before the version was given out, and may have looked before the write:
 *   see `RecentAnswers`.
 * - **A scan holds a page** that contains the id: see `PageWatch`.
 *
 * Otherwise every later read finds that version or a newer one: Postgres has it, and L2 has it or no copy at all.
 *
 * What bounds the first case: most rows settled long before they are read, and the feed announced them before this process
 * listened, so a floor must not wait for the feed alone. A version below the *horizon*, the oldest stamp in flight when Redis
 * was last asked, has settled and is never kept. Redis is asked for the horizon at the start, at most once a second while the
 * feed brings entries, and every 50 ms while a floor is kept. Each time it is also asked whether the kept versions are
 * in flight. So a floor that is kept for longer than 100 ms belongs to a write in flight, also while one stuck chunk holds the
 * horizon back. While Redis cannot be asked no write is accepted: then at most the writes of the last second are kept.
 *
 * A replayed dead letter has a stamp of long ago. Until its L2 copy is written it counts as settled, although it is not.
 */
export class Floors {
  readonly #l1: MemoryTier<L1Entry>;
  readonly #ask: SettledQuestion;
  readonly #log: Logger;
  readonly #unsettled = new Map<string, Stamps>();
  readonly #recent = new RecentAnswers();
  readonly #watches = new Set<PageWatch>();
  #onSettled: (id: string, stamps: Stamps) => void = () => undefined;
  #horizonOf: (id: string) => Stamp = NO_HORIZON;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(l1: MemoryTier<L1Entry>, ask: SettledQuestion, log: Logger) {
    this.#l1 = l1;
    this.#ask = ask;
    this.#log = log;
    l1.listen((id, evicted) => this.#keep(id, evicted));
    this.#checkIn(0);
  }

  /** Floors that are kept beside L1. */
  get size(): number {
    return this.#unsettled.size + this.#recent.size;
  }

  /** @param onSettled told of a floor that Redis, and not the feed, said to have settled. */
  listen(onSettled: (id: string, stamps: Stamps) => void): void {
    this.#onSettled = onSettled;
  }

  /** Undefined: any answer will do. */
  of(id: string): Stamps | undefined {
    const inL1 = this.#l1.last(id);
    const kept = this.#unsettled.size === 0 ? undefined : this.#unsettled.get(id);
    const recent = this.#recent.of(id);
    if (kept === undefined && recent === undefined) return inL1;
    const beside = kept === undefined ? recent : newestOf(kept, recent);
    return inL1 === undefined ? beside : newestOf(inL1, beside);
  }

  /** An answer was given out that L1 did not take. If the entry of L1 is older it becomes a floor. */
  given(id: string, stamps: Stamps): void {
    const inL1 = this.#l1.last(id);
    if (inL1 === undefined) {
      this.#keep(id, stamps);
    } else if (isAbove(stamps, inL1)) {
      this.#l1.set(id, floorOf(newestOf(stamps, inL1)), 0);
    }
  }

  /** An own write was given out before it settled. It may have been refused, so it counts only for the readings in progress. */
  ownSettled(id: string, stamps: Stamps): void {
    this.#recent.note(id, stamps);
    for (const watch of this.#watches) watch.note(id, stamps);
  }

  /** The feed announced this version. */
  announced(id: string, change: Stamps): void {
    const kept = this.#unsettled.get(id);
    if (kept !== undefined && !isNewer(kept, change)) this.#release(id, kept);
  }

  /** An entry of the feed came, so writes go on. */
  entryCame(): void {
    this.#checkIn(HORIZON_MS);
  }

  /** Postgres has no such version any more, because it came back older than it was. */
  forget(id: string): void {
    this.#unsettled.delete(id);
    this.#recent.forget(id);
  }

  /** Call the returned function once, when the reading has ended. */
  beginReading(): () => void {
    return this.#recent.begin();
  }

  /** @param rows of a page that a scan holds. Call `end` of the watch when the scan has left the page. */
  watch(rows: ReadonlyMap<string, Stamps>): PageWatch {
    const watch = new PageWatch(rows, () => this.#watches.delete(watch));
    for (const id of rows.keys()) {
      const floor = this.of(id);
      if (floor !== undefined) watch.note(id, floor);
    }
    this.#watches.add(watch);
    return watch;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#unsettled.clear();
  }

  /** L1 has evicted `id`, or never held it. */
  #keep(id: string, stamps: Stamps): void {
    this.#recent.note(id, stamps);
    for (const watch of this.#watches) watch.note(id, stamps);
    const horizon = this.#horizonOf(id);
    if (stamps.contentVersion < horizon && stamps.stateVersion < horizon) return;
    if (stamps.contentVersion === 0 && stamps.stateVersion === 0) return;
    this.#unsettled.set(id, newestOf(stamps, this.#unsettled.get(id)));
    this.#checkIn(CHECK_MS);
  }

  #release(id: string, stamps: Stamps): void {
    this.#unsettled.delete(id);
    this.#recent.note(id, stamps);
  }

  #checkIn(ms: number): void {
    if (this.#timer !== undefined || this.#closed) return;
    this.#timer = setTimeout(() => void this.#check(), ms).unref();
  }

  async #check(): Promise<void> {
    const asked: SeenVersion[] = [];
    for (const [id, { contentVersion, stateVersion }] of this.#unsettled) {
      if (asked.push({ id, contentVersion, stateVersion }) === CHECK_VERSIONS) break;
    }
    try {
      const { horizonOf, settled } = await this.#ask(asked);
      this.#horizonOf = horizonOf;
      this.#recent.horizonIs(horizonOf);
      asked.forEach((seen, i) => this.#checked(seen, settled[i] === true));
    } catch (error) {
      this.#log.debug({ err: error }, 'cannot ask which versions have settled');
    }
    this.#timer = undefined;
    if (this.#unsettled.size > 0) this.#checkIn(CHECK_MS);
  }

  #checked(seen: SeenVersion, hasSettled: boolean): void {
    const kept = this.#unsettled.get(seen.id);
    if (kept === undefined) return;
    if (hasSettled && !isNewer(kept, seen)) {
      this.#release(seen.id, kept);
      this.#onSettled(seen.id, kept);
    } else {
      // Move it to the end, so that the next question asks about others.
      this.#unsettled.delete(seen.id);
      this.#unsettled.set(seen.id, kept);
    }
  }
}

/** Readings that began in one span of time, and the answers noted in it. */
interface Span {
  readonly answers: Map<string, Stamps>;
  readings: number;
  /** As it was known before the first of these readings began. */
  readonly horizonOf: (id: string) => Stamp;
}

const NO_HORIZON = () => 0;

/**
 * Answers that left L1 while readings were in progress. A reading that began before an answer was given out may have asked a
 * tier before that answer was written. It compares what it found with these answers, so that it gives out nothing older (I6).
 *
 * There are two spans. A reading begins in the younger one, and answers are noted there. Once no reading of the older
 * span is left, its answers are dropped and the younger one takes its place. So an answer is kept until every reading
 * that was in progress when it was noted has ended, and no longer than twice the longest reading, which has a time limit. With no
 * reading in progress nothing is kept, and never an answer that had settled before they all began: they find it, too. So reads
 * of what is not just being written note nothing.
 */
export class RecentAnswers {
  #horizonOf: (id: string) => Stamp = NO_HORIZON;
  #older = this.#newSpan();
  #younger = this.#newSpan();

  get size(): number {
    return this.#older.answers.size + this.#younger.answers.size;
  }

  /** Versions below the horizon of their id have settled. It never falls. */
  horizonIs(horizonOf: (id: string) => Stamp): void {
    this.#horizonOf = horizonOf;
  }

  /** Call the returned function once, when the reading has ended. */
  begin(): () => void {
    const span = this.#younger;
    span.readings++;
    return () => {
      span.readings--;
      this.#dropOld();
    };
  }

  note(id: string, stamps: Stamps): void {
    if (this.#older.readings + this.#younger.readings === 0) return;
    const horizon = this.#older.horizonOf(id);
    if (stamps.contentVersion < horizon && stamps.stateVersion < horizon) return;
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
      this.#younger = this.#newSpan();
    }
  }

  #newSpan(): Span {
    return { answers: new Map(), readings: 0, horizonOf: this.#horizonOf };
  }
}

/**
 * Watches a page of a scan whose items wait for the caller, perhaps for long. It notes which of them were given out in a newer
 * version meanwhile, also when L1 has evicted that version. It holds no more than the ids of its page.
 */
export class PageWatch {
  readonly #rows: Map<string, Stamps>;
  readonly #outdated = new Set<string>();
  readonly #onEnd: () => void;

  constructor(rows: ReadonlyMap<string, Stamps>, onEnd: () => void) {
    this.#rows = new Map();
    for (const [id, row] of rows) this.#rows.set(id, newestOf(row, undefined));
    this.#onEnd = onEnd;
  }

  note(id: string, stamps: Stamps): void {
    if (this.isBelow(id, stamps)) this.#outdated.add(id);
  }

  /** Whether the page's row of `id` is older than these. */
  isBelow(id: string, stamps: Stamps | undefined): boolean {
    const own = this.#rows.get(id);
    return own !== undefined && stamps !== undefined && isNewer(stamps, own);
  }

  isOutdated(id: string): boolean {
    return this.#outdated.has(id);
  }

  end(): void {
    this.#onEnd();
  }
}
