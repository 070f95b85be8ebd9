import { QueueLostError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import type { Redis } from '../redis/connect.ts';
import type { FeedEntry, FeedListener } from '../redis/feed.ts';
import { chunkStates } from '../redis/pending.ts';
import { feedJobsSchema } from '../schema/feed.ts';
import type { TrackedChunk } from './tracked-chunk.ts';

const RECHECK_MS = 1000;

/** The chunks of this process that have not settled. Follows the feed; after a gap it asks Redis what it missed. */
export class ChunkTracker implements FeedListener {
  readonly #open = new Map<string, TrackedChunk>();
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #log: Logger;
  readonly #onSettled: (chunk: TrackedChunk) => void;
  #recheck: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(redis: Redis, keys: Keys, log: Logger, onSettled: (chunk: TrackedChunk) => void) {
    this.#redis = redis;
    this.#keys = keys;
    this.#log = log;
    this.#onSettled = onSettled;
  }

  /** To be called before the chunk is in the queue: it may settle before the queue's answer is back. */
  add(chunk: TrackedChunk): void {
    this.#open.set(chunk.chunkId, chunk);
  }

  remove(chunk: TrackedChunk): void {
    this.#open.delete(chunk.chunkId);
  }

  get unsettled(): TrackedChunk[] {
    return [...this.#open.values()];
  }

  onEntry(entry: FeedEntry): void {
    if (this.#open.size === 0) return;
    for (const [chunkId, , exceptions] of feedJobsSchema.parse(JSON.parse(entry.jobs))) {
      const chunk = this.#open.get(chunkId);
      if (chunk !== undefined) this.#finish(chunk, () => chunk.settle(exceptions));
    }
  }

  onGap(): void {
    void this.#ask();
  }

  /** What the feed no longer tells, `inflight` does. */
  async #ask(): Promise<void> {
    const chunks = this.unsettled;
    try {
      for (const epoch of new Set(chunks.map((chunk) => chunk.epoch))) {
        const ofEpoch = chunks.filter((chunk) => chunk.epoch === epoch);
        const states = await chunkStates(
          this.#redis,
          this.#keys,
          epoch,
          ofEpoch.map((chunk) => chunk.chunkId),
        );
        states.forEach((state, i) => {
          const chunk = ofEpoch[i] as TrackedChunk;
          if (state.state === 'settled') this.#finish(chunk, () => chunk.settle(state.exceptions));
          if (state.state === 'lost') this.#finish(chunk, () => chunk.fail(lost(chunk)));
        });
      }
    } catch (error) {
      this.#log.warn({ err: error }, 'outcomes could not be asked for, trying again');
      if (this.#closed) return;
      clearTimeout(this.#recheck);
      this.#recheck = setTimeout(() => void this.#ask(), RECHECK_MS);
    }
  }

  #finish(chunk: TrackedChunk, settle: () => void): void {
    this.#open.delete(chunk.chunkId);
    settle();
    this.#onSettled(chunk);
  }

  /** Nobody will tell any more: waiters get `error`. */
  close(error: Error): void {
    this.#closed = true;
    clearTimeout(this.#recheck);
    for (const chunk of this.unsettled) this.#finish(chunk, () => chunk.fail(error));
  }
}

function lost(chunk: TrackedChunk): QueueLostError {
  return new QueueLostError(
    `Redis came back without the data it had when chunk ${chunk.chunkId} was queued: whether its writes were applied is unknown. Read the items and write again.`,
  );
}
