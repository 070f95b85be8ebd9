import { pause } from '../abortable.ts';
import { ChangesGoneError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import { feedAfter, feedHolds, type NumberedChanges } from '../redis/feed.ts';
import { type ChangeKind, changeKindAt, feedChangesSchema } from '../schema/feed.ts';
import type { ChangeFeeds, ChangePosition, Follower, LanePosition } from './change-feeds.ts';

/** Entries of one read. An entry of 1,000 ids has about 40 KB. */
const PAGE = 10;
/** Pause after Redis did not answer. */
const RETRY_MS = 500;

const KINDS: Readonly<Record<ChangeKind, 'put' | 'delete' | 'cache'>> = {
  present: 'put',
  deleted: 'delete',
  cacheOnly: 'cache',
};

export interface Change {
  readonly id: string;
  readonly version: number;
  /** `cache`: it was written to L2 alone. */
  readonly kind: 'put' | 'delete' | 'cache';
}

/** The changes of one batch, and the place after it. Of a quiet feed only the place. */
interface ChangeBatch {
  readonly changes: readonly Change[];
  readonly position: ChangePosition;
}

/**
 * Reads the feeds from a place of its own. It reads the next entries when its caller has taken those before, so a slow caller
 * keeps nothing in memory. When the feed no longer holds the next entry, it ends.
 */
export class ChangeFollower implements Follower {
  readonly #feeds: ChangeFeeds;
  readonly #prefix: string;
  readonly #log: Logger;
  readonly #history: string;
  readonly #places: LanePosition[];
  /** Partitions that may have something new. */
  readonly #news: Set<number>;
  #mustCheck = false;
  #wake: () => void = () => undefined;

  /** @param prefix only changes of ids that begin with it are given */
  constructor(feeds: ChangeFeeds, from: ChangePosition, prefix: string, log: Logger) {
    this.#feeds = feeds;
    this.#prefix = prefix;
    this.#log = log;
    this.#history = from.history;
    this.#places = [...from.lanes];
    this.#news = new Set(feeds.lanes.keys.keys());
  }

  onNews(lane: number): void {
    this.#news.add(lane);
    this.#wake();
  }

  onGap(): void {
    this.#mustCheck = true;
    this.#wake();
  }

  get position(): ChangePosition {
    return { history: this.#history, lanes: [...this.#places] };
  }

  /** @throws ChangesGoneError when the feed cannot go on from this place, and why Redis could not be asked */
  async check(): Promise<void> {
    const { lanes, history, redis } = this.#feeds;
    if (this.#history !== history || this.#places.length !== lanes.count) throw gone();
    await Promise.all(
      this.#places.map(async (place, lane) => {
        if (!(await feedHolds(redis, lanes.keys[lane] as Keys, place))) throw gone();
      }),
    );
  }

  /**
   * Follows until the signal is aborted. Gives the place alone once nothing was given for `quietMs`. Entries that the caller does
   * not want move the place too: a place that is not told grows old, and the feed may no longer hold it when the caller comes back.
   * @throws ChangesGoneError
   */
  async *batches(quietMs: number, signal: AbortSignal): AsyncGenerator<ChangeBatch, void, undefined> {
    const unfollow = this.#feeds.follow(this);
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    try {
      let tellAt = performance.now() + quietMs;
      while (!signal.aborted) {
        for await (const changes of this.#steps(tellAt, signal)) {
          if (changes.length === 0 && performance.now() < tellAt) continue;
          yield { changes, position: this.position };
          tellAt = performance.now() + quietMs;
        }
      }
    } finally {
      unfollow();
    }
  }

  /** The wanted changes of each entry of one partition. At the end none, also when there was no news, or no answer of Redis. */
  async *#steps(tellAt: number, signal: AbortSignal): AsyncGenerator<Change[], void, undefined> {
    if (this.#news.size === 0 && !this.#mustCheck && !signal.aborted) {
      await this.#untilNews(tellAt - performance.now());
    }
    if (this.#mustCheck) await this.#checkAgain();
    const [lane] = this.#news;
    if (lane !== undefined) yield* this.#read(lane, signal);
    yield [];
  }

  #untilNews(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #checkAgain(): Promise<void> {
    try {
      await this.check();
      this.#mustCheck = false;
    } catch (error) {
      if (error instanceof ChangesGoneError) throw error;
      await this.#waitForRedis(error);
    }
  }

  async *#read(lane: number, signal: AbortSignal): AsyncGenerator<Change[], void, undefined> {
    this.#news.delete(lane);
    const keys = this.#feeds.lanes.keys[lane] as Keys;
    for (;;) {
      const place = this.#places[lane] as LanePosition;
      let entries: NumberedChanges[];
      try {
        entries = await feedAfter(this.#feeds.redis, keys, place.id, PAGE);
      } catch (error) {
        this.#news.add(lane);
        await this.#waitForRedis(error);
        return;
      }
      for (const { id, number, changes } of entries) {
        if (number !== (this.#places[lane] as LanePosition).number + 1) throw gone();
        this.#places[lane] = { id, number };
        yield this.#changesIn(changes);
        if (signal.aborted) return;
      }
      if (entries.length < PAGE) return;
    }
  }

  async #waitForRedis(error: unknown): Promise<void> {
    this.#log.debug({ err: error }, 'a follower waits for Redis');
    await pause(RETRY_MS);
  }

  /** An entry that tells of a new generation of L2 copies has no changes. */
  #changesIn(text: string): Change[] {
    if (text === '') return [];
    const changes = feedChangesSchema.parse(JSON.parse(text));
    const { ids, cv, sv } = changes;
    return ids.flatMap((id, i) => {
      const version = Math.max(cv[i] ?? 0, sv?.[i] ?? 0);
      return id.startsWith(this.#prefix) ? [{ id, version, kind: KINDS[changeKindAt(changes, i)] }] : [];
    });
  }
}

function gone(): ChangesGoneError {
  return new ChangesGoneError(
    'The change feed cannot go on from there: it no longer holds what came after, or Redis lost it. Read the items again and follow from now on, without Last-Event-ID.',
  );
}
