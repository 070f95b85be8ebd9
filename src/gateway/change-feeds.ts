import { createHash } from 'node:crypto';
import type { Config } from '../config.ts';
import { InvalidItemError, QueueUnavailableError } from '../errors.ts';
import type { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import { RedisBackend } from '../redis/backend.ts';
import type { Redis } from '../redis/client.ts';
import type { FeedTail } from '../redis/feed.ts';

const START_TIMEOUT_MS = 2000;

export interface Follower {
  /** The feed of this partition has a new entry. */
  onNews(lane: number): void;
  /** Entries of some feed were missed. */
  onGap(): void;
}

/** The change feeds of all partitions, as the followers of one gateway share them: they are told where something is new. */
export class ChangeFeeds {
  readonly lanes: Lanes;
  readonly redis: Redis;
  readonly #backend: RedisBackend;
  readonly #tails: readonly FeedTail[];
  readonly #followers = new Set<Follower>();

  private constructor(backend: RedisBackend, lanes: Lanes, tails: readonly FeedTail[]) {
    this.#backend = backend;
    this.#tails = tails;
    this.lanes = lanes;
    this.redis = backend.queue;
    tails.forEach((tail, lane) =>
      tail.listen({
        onEntry: () => this.#tell((follower) => follower.onNews(lane)),
        onGap: () => this.#tell((follower) => follower.onGap()),
      }),
    );
  }

  /** @throws QueueUnavailableError */
  static async open(config: Config, log: Logger): Promise<ChangeFeeds> {
    const backend = new RedisBackend(config, log);
    // As the reader: who lets reads wait longer for Redis lets opening wait as long.
    const timeoutMs = Math.max(START_TIMEOUT_MS, config.l2TimeoutMs);
    return backend.opening(async () => {
      await backend.ready(timeoutMs, 'queue');
      const lanes = await backend.lanes();
      const feeds = new ChangeFeeds(backend, lanes, backend.feeds(lanes));
      await backend.ready(timeoutMs, 'feeds');
      return feeds;
    });
  }

  /** The place after everything that has been delivered here. @throws QueueUnavailableError while a feed is out of sight */
  get head(): ChangePosition {
    if (!this.#tails.every(({ live }) => live)) {
      throw new QueueUnavailableError('The change feed is out of sight: Redis does not answer. Try again.');
    }
    return {
      history: this.history,
      lanes: this.#tails.map(({ position: { id, number } }) => ({ id, number })),
    };
  }

  /** Changes when Redis has lost data. */
  get history(): string {
    return historyOf(this.#tails.map(({ position }) => position.epoch));
  }

  get followers(): number {
    return this.#followers.size;
  }

  /** Tells the follower until the returned function is called. */
  follow(follower: Follower): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  #tell(what: (follower: Follower) => void): void {
    for (const follower of this.#followers) what(follower);
  }

  close(): Promise<void> {
    return this.#backend.close();
  }
}

/** A place on the feed of one partition: after entry `number`, whose stream id is `id`. */
export interface LanePosition {
  readonly id: string;
  readonly number: number;
}

/** A place on the feeds of all partitions. */
export interface ChangePosition {
  /** Tells the data of Redis apart: what came before a loss says nothing about what comes after it. */
  readonly history: string;
  readonly lanes: readonly LanePosition[];
}

const FORMAT = '1';
const HISTORY_CHARS = 16;
const LANE = /^([\da-z]{1,11})-([\da-z]{1,11})-([\da-z]{1,11})$/;

/** @param epochs of the feeds, by partition */
function historyOf(epochs: readonly string[]): string {
  return createHash('sha256').update(epochs.join()).digest('hex').slice(0, HISTORY_CHARS);
}

/** The place as the id of an event. Base 36 keeps it short: it comes back in a header, and each partition has its part. */
export function encodePosition({ history, lanes }: ChangePosition): string {
  const parts = lanes.map(({ id, number }) =>
    [...id.split('-'), number].map((part) => Number(part).toString(36)).join('-'),
  );
  return [FORMAT, history, ...parts].join('.');
}

/** @throws InvalidItemError when it is none that `encodePosition` wrote */
export function decodePosition(text: string): ChangePosition {
  const [format, history = '', ...parts] = text.split('.');
  const lanes = parts.map((part) => {
    const [ms = NaN, sequence = NaN, number = NaN] = (LANE.exec(part) ?? [])
      .slice(1)
      .map((digits) => Number.parseInt(digits, 36));
    return { id: `${ms}-${sequence}`, number, isWhole: [ms, sequence, number].every(Number.isSafeInteger) };
  });
  if (format !== FORMAT || history.length !== HISTORY_CHARS || lanes.some(({ isWhole }) => !isWhole)) {
    throw new InvalidItemError('Last-Event-ID', 'is not the id of a change');
  }
  return { history, lanes: lanes.map(({ id, number }) => ({ id, number })) };
}
