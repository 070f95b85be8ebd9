import type { Logger } from '../log.ts';
import type { WalPlace } from '../postgres/replica.ts';
import type { FeedChanges } from '../schema/feed.ts';

/** Milliseconds between two questions to the primary. */
const ASK_MS = 100;
/** Changed ids that are remembered: about 10 MB. Older ones count as if every id had changed then. */
const MAX_IDS = 100_000;
/** Periods that are remembered: a minute when changes never pause. */
const MAX_PERIODS = 600;

/** Changes that the feed told of between two questions. */
interface Period {
  readonly ids: string[];
  /** A place of the primary behind all of them; undefined until it has been asked for. */
  place: WalPlace | undefined;
}

/**
 * How a replica's place compares with what is needed. `behind`: it has not replayed everything that is forgotten. `other`: it is
 * of another database. `timeline`: it follows another timeline than the primary. `unknown`: nothing can be compared now.
 */
export type Standing = 'current' | 'behind' | 'other' | 'timeline' | 'unknown';

/**
 * How far a replica must have replayed before its answer for an id counts (I6, I7).
 *
 * The feed tells of a change after Postgres has committed it. So a place of the primary that is asked for after the feed told
 * of a change lies behind its commit, and a replica that has replayed up to there has it. That needs nothing of the drain:
 * the reader asks the primary itself, at most ten times a second, and only while replicas are read and changes come.
 *
 * - Changes that came since the last question are **open**: no replica may answer for their ids.
 * - A question closes them: from then on their ids need the place it brought.
 * - All other ids need the **base**: the place of the newest change that is forgotten.
 *
 * While the feed is out of sight, and from a gap until the next question, no replica may answer at all. A primary on another
 * timeline starts everything anew, because positions of two timelines cannot be compared.
 */
export class ReplayNeeds {
  readonly #ask: () => Promise<WalPlace>;
  readonly #log: Logger;
  readonly #maxIds: number;
  readonly #periodOf = new Map<string, Period>();
  /** Oldest first. */
  #closed: Period[] = [];
  /** Those of the question that is under way or has failed, and last the one that takes new changes. */
  #open: Period[] = [newPeriod()];
  /** Ids in all periods. */
  #held = 0;
  #base: WalPlace | undefined;
  #primary: WalPlace | undefined;
  #live = false;
  /** Answers to questions of an earlier era come too late. */
  #era = 0;
  #asking = false;
  #askedAt = Number.NEGATIVE_INFINITY;

  /** @param ask asks the primary for its place */
  constructor(ask: () => Promise<WalPlace>, log: Logger, maxIds = MAX_IDS) {
    this.#ask = ask;
    this.#log = log;
    this.#maxIds = maxIds;
  }

  /** The place of the primary as it was last asked. */
  get primary(): WalPlace | undefined {
    return this.#primary;
  }

  /** Whether a replica may be able to answer for the id: what it needs is known. */
  isKnown(id: string): boolean {
    return this.#neededFor(id) !== undefined;
  }

  /** Whether an answer from this place shows every change of the id that the feed has told of. */
  isCovered(id: string, place: WalPlace): boolean {
    const needed = this.#neededFor(id);
    return needed !== undefined && standingAt(place, needed) === 'current';
  }

  /** How a place stands to what every id needs at least. */
  standing(place: WalPlace): Standing {
    return this.#base === undefined ? 'unknown' : standingAt(place, this.#base);
  }

  /**
   * Asks the primary for its place when there are open changes or no base. Does not wait for the answer.
   * @param anyway ask in any case
   */
  renew(anyway = false): void {
    const now = performance.now();
    if (this.#asking || now - this.#askedAt < ASK_MS) return;
    if (!anyway && this.#base !== undefined && this.#open.every(({ ids }) => ids.length === 0)) return;
    this.#asking = true;
    this.#askedAt = now;
    void this.#renew().finally(() => {
      this.#asking = false;
    });
  }

  onChanges({ ids }: Pick<FeedChanges, 'ids'>): void {
    const period = this.#open.at(-1) as Period;
    for (const id of ids) {
      this.#periodOf.set(id, period);
      period.ids.push(id);
    }
    this.#held += ids.length;
    while (this.#held > this.#maxIds) {
      if (this.#closed.length === 0) return this.#startOver();
      this.#forgetOldest();
    }
  }

  onGap(): void {
    this.#startOver();
  }

  onDown(): void {
    this.#live = false;
  }

  onLive(): void {
    // A question from before may have been asked before the tail took its place on the feed.
    this.#startOver();
    this.#live = true;
    this.renew();
  }

  async #renew(): Promise<void> {
    const era = this.#era;
    const closing = this.#open;
    this.#open = [...closing, newPeriod()];
    try {
      const place = await this.#ask();
      if (era !== this.#era) return;
      const isAnother = this.#primary !== undefined && standingAt(place, this.#primary) !== 'current';
      this.#primary = place;
      this.#open = this.#open.slice(closing.length);
      for (const period of closing) period.place = place;
      this.#closed.push(...closing.filter(({ ids }) => ids.length > 0));
      while (this.#closed.length > (isAnother ? 0 : MAX_PERIODS)) this.#forgetOldest();
      if (isAnother) this.#base = place;
      else this.#base ??= place;
    } catch (error) {
      this.#log.debug(
        { err: error },
        'the primary was not asked for its place; replicas answer for no new changes',
      );
    }
  }

  #neededFor(id: string): WalPlace | undefined {
    if (!this.#live || this.#base === undefined) return undefined;
    const period = this.#periodOf.get(id);
    return period === undefined ? this.#base : period.place;
  }

  #forgetOldest(): void {
    const oldest = this.#closed.shift();
    if (oldest === undefined) return;
    this.#base = oldest.place;
    this.#held -= oldest.ids.length;
    for (const id of oldest.ids) if (this.#periodOf.get(id) === oldest) this.#periodOf.delete(id);
  }

  #startOver(): void {
    this.#era++;
    this.#periodOf.clear();
    this.#closed = [];
    this.#open = [newPeriod()];
    this.#held = 0;
    this.#base = undefined;
    // The next read needs an answer soon.
    this.#askedAt = Number.NEGATIVE_INFINITY;
  }
}

function newPeriod(): Period {
  return { ids: [], place: undefined };
}

/** How a place stands to one that is needed. */
export function standingAt(place: WalPlace, needed: WalPlace): Standing {
  if (place.database !== needed.database) return 'other';
  if (place.timeline !== needed.timeline) return 'timeline';
  return place.lsn >= needed.lsn ? 'current' : 'behind';
}
