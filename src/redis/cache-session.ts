import { randomUUID } from 'node:crypto';
import { type CopyKeys, ITEM_BUCKETS } from '../keys.ts';
import type { CacheLayout } from './cache-layout.ts';
import type { Server } from './client.ts';
import { resultsOf, serverTimeMs } from './commands.ts';

/**
 * How long after a look at Postgres its rows may be written to L2, in milliseconds of the cache server's clock. A batch's
 * statement takes less. Tombstones and fences guard against older copies, so they must live longer.
 */
export const LOOK_MS = 1000;
/** The clocks of two machines drift apart by less than this share (crystals: 0.01 %, NTP slewing: 0.05 %). */
const DRIFT = 0.001;

/**
 * When rows were asked for in Postgres. Take it BEFORE the statement is sent, and give it with the copies made from the answer.
 * L2 takes them only while it cannot have lost a newer copy since.
 */
export interface Look {
  readonly session: CacheSession;
  /** The time of each server of the session's layout, in milliseconds; not later than it was. */
  readonly times: readonly number[];
  /** The latest of them. */
  readonly at: number;
  readonly epochs: readonly string[];
}

/** No two epochs may be equal, whoever makes them. */
const PROCESS = randomUUID().slice(0, 8);
let epochsGiven = 0;

export function newEpoch(): string {
  return `${PROCESS}.${++epochsGiven}`;
}

interface HeardTime {
  readonly serverMs: number;
  readonly at: number;
}

/**
 * One connection to each cache server, in one generation of copies. It asks for the servers' clocks and the buckets' epochs when
 * it begins; afterwards each write tells them.
 */
export class CacheSession {
  readonly copies: CopyKeys;
  readonly layout: CacheLayout;
  #epochs: readonly string[];
  readonly #heard: HeardTime[];

  private constructor(
    layout: CacheLayout,
    copies: CopyKeys,
    epochs: readonly string[],
    times: readonly number[],
  ) {
    this.layout = layout;
    this.copies = copies;
    this.#epochs = epochs;
    this.#heard = times.map((serverMs) => ({ serverMs, at: performance.now() }));
  }

  static async begin(layout: CacheLayout, copies: CopyKeys): Promise<CacheSession> {
    const epochs = Array.from({ length: ITEM_BUCKETS }, () => '');
    const times = await Promise.all(
      layout.servers.map(async ({ redis }, place) => {
        const buckets = [...epochs.keys()].filter((bucket) => layout.places[bucket] === place);
        const pipeline = redis.pipeline();
        for (const key of buckets.map((bucket) => copies.epoch(bucket))) {
          pipeline.setnx(key, newEpoch()).get(key);
        }
        const [results, timeMs] = await Promise.all([resultsOf(pipeline), serverTimeMs(redis)]);
        // Errors are ignored: without an epoch the first write of the bucket only needs a second look.
        buckets.forEach((bucket, i) => {
          const epoch = results[2 * i + 1]?.[1];
          if (typeof epoch === 'string') epochs[bucket] = epoch;
        });
        return Math.floor(timeMs);
      }),
    );
    return new CacheSession(layout, copies, epochs, times);
  }

  /** The server that has a bucket. */
  server(bucket: number): Server {
    return (this.layout.servers[this.layout.places[bucket] as number] as CacheLayout['servers'][number])
      .redis;
  }

  /**
   * Adds the time that has passed here to what each server said last, and is never later than the server's clock. This
   * clock goes on while the process is stopped, so a look from before the stop is too old afterwards.
   */
  look(): Look {
    const now = performance.now();
    const times = this.#heard.map(({ serverMs, at }) => Math.floor(serverMs + (now - at) * (1 - DRIFT)));
    return { session: this, times, at: Math.max(...times), epochs: this.#epochs };
  }

  /** Whether L2 will still take copies of this look that are sent now. */
  isFresh(look: Look): boolean {
    if (look.session !== this) return false;
    const now = this.look();
    return now.times.every((time, place) => time - (look.times[place] as number) < LOOK_MS * 0.8);
  }

  /** Tells the time of a bucket's server, in milliseconds, that a write was answered. */
  heardTime(bucket: number, serverMs: number): void {
    this.#heard[this.layout.places[bucket] as number] = { serverMs, at: performance.now() };
  }

  /** Tells the epoch that a write found. */
  heardEpoch(bucket: number, epoch: string): void {
    if (this.#epochs[bucket] !== epoch) this.#epochs = this.#epochs.with(bucket, epoch);
  }
}
