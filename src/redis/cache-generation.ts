import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { pause, within } from '../abortable.ts';
import { type CopyKeys, ITEM_BUCKETS } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import type { FeedEntry, FeedListener } from './feed.ts';
import { Script, serverTimeMs } from './commands.ts';
import { type Redis, ServerInfo } from './connect.ts';

const adoptScript = new Script('adopt-cache');
const followScript = new Script('follow-cache');
const adoptReply = z.tuple([z.string(), z.string()]);

/** Pause between two attempts to learn the generation: the first, doubled up to the second. */
const RETRY_MS = 20;
const MAX_RETRY_MS = 1000;
/** Pause before connecting again to find the server that others use. Two processes on different servers must not chase each other. */
const MOVE_MS = 500;

export interface CacheGenerationOptions {
  /** The cache server keeps all that it acknowledged over a restart, so its copies stay good. */
  readonly cacheNeverOlder: boolean;
}

/**
 * Which generation of L2 copies this process uses.
 *
 * A cache server that restarts, or a replica that takes its place, may hold copies that are older than what has settled.
 * Both have another run id than the server before. So the queue's Redis keeps the generation together with the run id of its
 * server, and the keys of copies hold the generation. A process that finds another server makes a new generation first.
 *
 * - **known** (`session`): connected, and the queue's Redis has said which generation belongs to this server.
 * - **unknown**: from the loss of the connection until the queue's Redis has said so again. Nothing is read from L2 or
 *   written to it.
 *
 * The feed tells the other processes of a new generation. A process on another server than the generation's connects again,
 * because it may still talk to the server that was replaced.
 */
export class CacheGeneration implements FeedListener {
  readonly #cache: Redis;
  readonly #queue: Redis;
  readonly #lanes: () => Promise<Lanes>;
  readonly #options: CacheGenerationOptions;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  #session: CacheSession | undefined;
  /** Grows with each connection and each generation the feed tells of. Answers to questions of an earlier round are ignored. */
  #round = 0;
  /** No generation was learned on this connection yet, so a new one may be made for its server. */
  #isNew = true;
  #lastError: unknown;
  #waiting: (() => void)[] = [];

  /** @param cache not a `patient` connection: after a loss it would send the same commands to another server */
  constructor(
    cache: Redis,
    queue: Redis,
    lanes: () => Promise<Lanes>,
    options: CacheGenerationOptions,
    log: Logger,
  ) {
    this.#cache = cache;
    this.#queue = queue;
    this.#lanes = lanes;
    this.#options = options;
    this.#log = log;
    cache.on('ready', this.#onReady);
    cache.on('close', this.#onClose);
    if (cache.status === 'ready') this.#onReady();
  }

  /** Undefined while it is unknown. */
  get session(): CacheSession | undefined {
    return this.#session;
  }

  /** Waits until the generation is known. @throws when it is not within `timeoutMs` */
  async known(timeoutMs: number): Promise<CacheSession> {
    const learned = async (): Promise<CacheSession> => {
      while (this.#session === undefined) {
        this.#stop.signal.throwIfAborted();
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
      return this.#session;
    };
    return within(timeoutMs, learned()).catch((error: unknown) => {
      throw this.#lastError ?? error;
    });
  }

  /** Asks the queue's Redis whether the generation is still in use. When it is not, it is unknown from now on. */
  async confirm(): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    const [generation] = await this.#ask('', false);
    if (generation !== session.copies.generation) this.#follow();
  }

  onEntry({ generation }: FeedEntry): void {
    if (generation !== undefined && generation !== this.#session?.copies.generation) this.#follow();
  }

  /** A missed entry may have told of a new generation. */
  onGap(): void {
    this.#follow();
  }

  close(): void {
    this.#stop.abort();
    this.#cache.off('ready', this.#onReady);
    this.#cache.off('close', this.#onClose);
    this.#session = undefined;
    this.#wake();
  }

  readonly #onReady = (): void => {
    this.#isNew = true;
    this.#learn();
  };

  readonly #onClose = (): void => {
    this.#round++;
    this.#session = undefined;
  };

  /** Another generation than ours may be in use. */
  #follow(): void {
    this.#session = undefined;
    if (this.#cache.status === 'ready') this.#learn();
  }

  #learn(): void {
    const round = ++this.#round;
    void this.#untilLearned(() => round !== this.#round || this.#stop.signal.aborted);
  }

  async #untilLearned(isOver: () => boolean): Promise<void> {
    for (let failures = 0; !isOver(); failures++) {
      try {
        const session = await this.#begin();
        if (isOver()) return;
        if (session !== undefined) {
          this.#session = session;
          this.#isNew = false;
          this.#lastError = undefined;
          this.#wake();
          return;
        }
        this.#log.warn('L2 copies are kept by another cache server now; connecting again');
        await this.#pause(MOVE_MS * (1 + Math.random()));
        if (!isOver()) this.#cache.disconnect(true);
        return;
      } catch (error) {
        this.#lastError = error;
        this.#log.debug({ err: error }, 'the generation of L2 copies could not be asked');
      }
      await this.#pause(Math.min(RETRY_MS * 2 ** Math.min(failures, 8), MAX_RETRY_MS));
    }
  }

  /** Undefined when the generation in use is another server's. */
  async #begin(): Promise<CacheSession | undefined> {
    const runId = (await ServerInfo.of(this.#cache, 'server')).text('run_id');
    if (runId === undefined) {
      throw new Error('the cache server does not tell its run_id; allow it the command INFO server');
    }
    let [generation, server] = await this.#ask(runId, this.#isNew);
    // The queue's Redis has lost the generation, so make one for this server.
    if (generation === '') [generation, server] = await this.#ask(runId, true);
    const { home } = await this.#lanes();
    return server === runId ? CacheSession.begin(this.#cache, home.copies(generation)) : undefined;
  }

  async #ask(runId: string, make: boolean): Promise<[generation: string, server: string]> {
    const lanes = await this.#lanes();
    const { cache, clock, feed } = lanes.home;
    const keys = lanes.count === 1 ? [cache, clock, feed] : [cache];
    const neverOlder = this.#options.cacheNeverOlder ? 1 : 0;
    const [generation, server] = adoptReply.parse(
      await adoptScript.run(this.#queue, keys, [runId, make ? 1 : 0, neverOlder]),
    );
    if (lanes.count > 1 && generation !== '') await this.#spread(lanes, generation);
    return [generation, server];
  }

  /**
   * Settling compares the generation in its own lane. No process may use a generation before every lane has it: a worker could
   * settle copies of the one before.
   */
  async #spread({ keys }: Lanes, generation: string): Promise<void> {
    await Promise.all(
      keys.map(({ cache, clock, feed }) => followScript.run(this.#queue, [cache, clock, feed], [generation])),
    );
  }

  async #pause(ms: number): Promise<void> {
    await pause(ms, { signal: this.#stop.signal });
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}

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
  /** The cache server's time, in milliseconds; not later than it was. */
  readonly at: number;
  readonly epochs: readonly string[];
}

/** No two epochs may be equal, whoever makes them. */
const PROCESS = randomUUID().slice(0, 8);
let epochsGiven = 0;

export function newEpoch(): string {
  return `${PROCESS}.${++epochsGiven}`;
}

/**
 * One connection to one cache server, in one generation of copies. It asks for the server's clock and the buckets' epochs when
 * it begins; afterwards each write tells them.
 */
export class CacheSession {
  readonly copies: CopyKeys;
  #epochs: readonly string[];
  #serverMs = 0;
  #heardAt = 0;

  private constructor(copies: CopyKeys, epochs: readonly string[], serverMs: number) {
    this.copies = copies;
    this.#epochs = epochs;
    this.heardTime(serverMs);
  }

  static async begin(redis: Redis, copies: CopyKeys): Promise<CacheSession> {
    const keys = Array.from({ length: ITEM_BUCKETS }, (_, bucket) => copies.epoch(bucket));
    // Errors are ignored: without an epoch the first write of the bucket only needs a second look.
    const pipeline = redis.pipeline();
    for (const key of keys) pipeline.setnx(key, newEpoch());
    const [, epochs, timeMs] = await Promise.all([pipeline.exec(), redis.mget(keys), serverTimeMs(redis)]);
    return new CacheSession(
      copies,
      epochs.map((epoch) => epoch ?? ''),
      Math.floor(timeMs),
    );
  }

  /**
   * Adds the time that has passed here to what the server said last, and is never later than the server's clock. This
   * clock goes on while the process is stopped, so a look from before the stop is too old afterwards.
   */
  look(): Look {
    const at = Math.floor(this.#serverMs + (performance.now() - this.#heardAt) * (1 - DRIFT));
    return { session: this, at, epochs: this.#epochs };
  }

  /** Whether L2 will still take copies of this look that are sent now. */
  isFresh(look: Look): boolean {
    return look.session === this && this.look().at - look.at < LOOK_MS * 0.8;
  }

  /** Tells the server's time, in milliseconds, that a write was answered. */
  heardTime(serverMs: number): void {
    this.#serverMs = serverMs;
    this.#heardAt = performance.now();
  }

  /** Tells the epoch that a write found. */
  heardEpoch(bucket: number, epoch: string): void {
    if (this.#epochs[bucket] !== epoch) this.#epochs = this.#epochs.with(bucket, epoch);
  }
}
