import { pause } from '../abortable.ts';
import { QueueLostError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import type { Redis } from '../redis/client.ts';
import type { FeedEntry, FeedListener } from '../redis/feed.ts';
import { chunkStates } from '../redis/in-flight.ts';
import { decodeFeedJobs, type FeedJob, type FeedPosition } from '../schema/feed.ts';
import type { TrackedChunk } from './tracked-chunk.ts';

const RECHECK_MS = 1000;
/** How often Redis is asked about open chunks. It finds losses that no feed entry and no reconnect shows. */
const REVIEW_MS = 30_000;
const ASKED_AT_ONCE = 1000;

/**
 * What it means when a chunk is no longer in flight and has no stored outcome. `settled`: its feed entry was trimmed.
 * `unknown`: Redis lost its newest data, perhaps with the chunk. `unsure`: its feed entry may still come.
 */
type Absence = 'settled' | 'unknown' | 'unsure';

/** A place in the feed of one life of Redis. */
type Place = Pick<FeedPosition, 'epoch' | 'number'>;

/** The chunks of this process that have not settled. It follows the feed, and asks Redis where the feed may miss an outcome. */
export class ChunkTracker implements FeedListener {
  readonly #open = new Map<string, TrackedChunk>();
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #log: Logger;
  readonly #onSettled: (chunk: TrackedChunk) => void;
  readonly #delivered: () => Place;
  readonly #reviews: NodeJS.Timeout;
  /** Gaps of the feed so far, and those whose chunks are still being asked about. */
  #gaps = 0;
  #passing = 0;
  #loss: unknown;
  #closed = false;

  /** @param delivered gives the newest feed entry that this process has seen */
  constructor(
    redis: Redis,
    keys: Keys,
    log: Logger,
    delivered: () => Place,
    onSettled: (chunk: TrackedChunk) => void,
  ) {
    this.#redis = redis;
    this.#keys = keys;
    this.#log = log;
    this.#delivered = delivered;
    this.#onSettled = onSettled;
    this.#reviews = setInterval(() => void this.#review(), REVIEW_MS).unref();
  }

  /** Call it before the chunk is queued: the chunk may settle before the queue answers. */
  add(chunk: TrackedChunk): void {
    this.#open.set(chunk.chunkId, chunk);
  }

  remove(chunk: TrackedChunk): void {
    this.#open.delete(chunk.chunkId);
  }

  get unsettled(): TrackedChunk[] {
    return [...this.#open.values()];
  }

  /** The error of the first chunk that was lost since the last call; undefined when none was. */
  takeLoss(): unknown {
    const loss = this.#loss;
    this.#loss = undefined;
    return loss;
  }

  onEntry(entry: FeedEntry): void {
    if (this.#open.size === 0) return;
    let jobs: FeedJob[];
    try {
      jobs = decodeFeedJobs(entry.jobs);
    } catch (error) {
      this.#log.error({ err: error, entry: entry.id }, 'change feed entry cannot be read');
      void this.#passGap('settled');
      return;
    }
    for (const { chunkId, outcome } of jobs) {
      const chunk = this.#open.get(chunkId);
      if (chunk !== undefined) this.#finish(chunk, () => chunk.settle(outcome));
    }
  }

  onGap(kind: 'trimmed' | 'lost'): void {
    void this.#passGap(kind === 'lost' ? 'unknown' : 'settled');
  }

  /** After a reconnect, Redis may have lost its newest data without losing a feed entry. */
  onLive(): void {
    void this.#reviewAtLast();
  }

  /** Asks Redis, until it answers, about the chunks that the missed entries may have settled. */
  async #passGap(absence: 'settled' | 'unknown'): Promise<void> {
    const chunks = this.unsettled;
    this.#gaps++;
    this.#passing++;
    while (!this.#closed) {
      try {
        const isSure = await this.#ask(chunks, (head) =>
          absence === 'settled' || this.#wasDelivered(head) ? absence : 'unsure',
        );
        if (isSure) break;
      } catch (error) {
        this.#log.warn({ err: error }, 'outcomes could not be asked for, trying again');
      }
      await pause(RECHECK_MS, { ref: false });
    }
    this.#passing--;
  }

  /** Reviews again until Redis answers: the feed has a connection of its own, which may be back before the other one. */
  async #reviewAtLast(): Promise<void> {
    while (!this.#closed && !(await this.#review())) await pause(RECHECK_MS, { ref: false });
  }

  /** @returns whether Redis answered */
  async #review(): Promise<boolean> {
    const gaps = this.#gaps;
    try {
      await this.#ask(this.unsettled, (head) => {
        // Its entry may have been missed, or may still come.
        const wasTold = this.#gaps === gaps && this.#passing === 0 && this.#wasDelivered(head);
        return wasTold ? 'unknown' : 'unsure';
      });
      return true;
    } catch (error) {
      this.#log.debug({ err: error }, 'open chunks could not be reviewed; the next time will do');
      return false;
    }
  }

  #wasDelivered(head: Place): boolean {
    const { epoch, number } = this.#delivered();
    return head.epoch === epoch && head.number <= number;
  }

  /**
   * @param absenceAt is given the newest entry when Redis was asked
   * @returns false when a chunk is neither in flight nor known to have ended
   */
  async #ask(chunks: readonly TrackedChunk[], absenceAt: (head: Place) => Absence): Promise<boolean> {
    let isSure = true;
    const open = chunks.filter((chunk) => this.#open.has(chunk.chunkId));
    for (const part of partsOf(open)) {
      const epoch = (part[0] as TrackedChunk).epoch;
      const ids = part.map((chunk) => chunk.chunkId);
      const { states, entries } = await chunkStates(this.#redis, this.#keys, epoch, ids);
      const absence = absenceAt({ epoch, number: entries });
      states.forEach((state, i) => {
        const chunk = part[i] as TrackedChunk;
        if (state.state === 'inflight') return;
        if (state.state === 'lost') this.#lose(chunk);
        else if (absence === 'settled' || state.outcome !== undefined) {
          this.#finish(chunk, () => chunk.settle(state.outcome ?? {}));
        } else if (absence === 'unknown') this.#lose(chunk);
        else isSure = false;
      });
    }
    return isSure;
  }

  #lose(chunk: TrackedChunk): void {
    // It settled through the feed while Redis was being asked.
    if (!this.#open.has(chunk.chunkId)) return;
    const error = lost(chunk);
    this.#loss ??= error;
    this.#finish(chunk, () => chunk.fail(error));
  }

  /** Ends a chunk once: the feed may settle it while Redis is being asked. */
  #finish(chunk: TrackedChunk, settle: () => void): void {
    if (!this.#open.delete(chunk.chunkId)) return;
    settle();
    this.#onSettled(chunk);
  }

  /** Rejects all who wait with `error`. */
  close(error: Error): void {
    this.#closed = true;
    clearInterval(this.#reviews);
    for (const chunk of this.unsettled) this.#finish(chunk, () => chunk.fail(error));
  }
}

/** The chunks in groups of one epoch and bounded size. */
function* partsOf(chunks: readonly TrackedChunk[]): Generator<TrackedChunk[]> {
  for (const epoch of new Set(chunks.map((chunk) => chunk.epoch))) {
    const ofEpoch = chunks.filter((chunk) => chunk.epoch === epoch);
    for (let at = 0; at < ofEpoch.length; at += ASKED_AT_ONCE) yield ofEpoch.slice(at, at + ASKED_AT_ONCE);
  }
}

function lost(chunk: TrackedChunk): QueueLostError {
  return new QueueLostError(
    `Redis came back without the data it had when chunk ${chunk.chunkId} was queued: whether its writes were applied is unknown. Read the items and write again.`,
  );
}
