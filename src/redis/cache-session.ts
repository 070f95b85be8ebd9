import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { type CopyKeys, ITEM_BUCKETS } from '../keys.ts';

/**
 * How long after a look at Postgres its rows may be written to L2, in milliseconds of the cache server's clock. Long enough for a
 * batch's statement; whatever guards against older copies (tombstones, fences) must live longer.
 */
export const LOOK_MS = 1000;
/** The clocks of two machines drift apart by less than this share (crystals: 0.01 %, NTP slewing: 0.05 %). */
const DRIFT = 0.001;

const timeReply = z.tuple([z.coerce.number(), z.coerce.number()]);

/**
 * When rows were asked for in Postgres: taken BEFORE the statement is sent, and given with the copies made from its answer.
 * A copy is only taken while nobody can have lost a newer one since.
 */
export interface Look {
  readonly session: CacheSession;
  /** The cache server's time, in milliseconds; not later than it was. */
  readonly at: number;
  readonly epochs: readonly string[];
}

/** Epochs must differ, also those that one process gives. */
const PROCESS = randomUUID().slice(0, 8);
let epochsGiven = 0;

export function newEpoch(): string {
  return `${PROCESS}.${++epochsGiven}`;
}

/**
 * One connection to one cache server, in one generation of copies. Knows the server's clock and the epochs of the buckets:
 * asked once when it begins, and told by every write since.
 */
export class CacheSession {
  readonly copies: CopyKeys;
  #epochs: readonly string[];
  #serverMs = 0;
  #heardAt = 0;

  private constructor(copies: CopyKeys, epochs: readonly string[], serverMs: number) {
    this.copies = copies;
    this.#epochs = epochs;
    this.#heardTime(serverMs);
  }

  static async begin(redis: Redis, copies: CopyKeys): Promise<CacheSession> {
    const keys = Array.from({ length: ITEM_BUCKETS }, (_, bucket) => copies.epoch(bucket));
    // An epoch that cannot be made only costs the first write of its bucket a second look.
    const pipeline = redis.pipeline();
    for (const key of keys) pipeline.setnx(key, newEpoch());
    const [, epochs, [seconds, micros]] = await Promise.all([
      pipeline.exec(),
      redis.mget(keys),
      redis.time().then((reply) => timeReply.parse(reply)),
    ]);
    return new CacheSession(
      copies,
      epochs.map((epoch) => epoch ?? ''),
      seconds * 1000 + Math.floor(micros / 1000),
    );
  }

  /**
   * The server's time is what it said last and what has passed here since: never later than it is. The clock here goes on
   * while this process is stopped, so a look that was taken before is old when it wakes.
   */
  look(): Look {
    const at = Math.floor(this.#serverMs + (performance.now() - this.#heardAt) * (1 - DRIFT));
    return { session: this, at, epochs: this.#epochs };
  }

  /** Whether so little of its time has passed that copies sent now will be taken. */
  isFresh(look: Look): boolean {
    return look.session === this && this.look().at - look.at < LOOK_MS * 0.8;
  }

  /** A write was answered. */
  heard(serverMs: number, bucket: number, epoch: string): void {
    this.#heardTime(serverMs);
    if (this.#epochs[bucket] !== epoch) this.#epochs = this.#epochs.with(bucket, epoch);
  }

  #heardTime(serverMs: number): void {
    this.#serverMs = serverMs;
    this.#heardAt = performance.now();
  }
}
