import { z } from 'zod';
import { pause, within } from '../abortable.ts';
import { type CopyKeys, ITEM_BUCKETS } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import { type CacheLayout, type CacheLayouts, cacheLayouts } from './cache-layout.ts';
import { CacheSession } from './cache-session.ts';
import type { Redis } from './client.ts';
import { Script } from './commands.ts';
import type { FeedEntry, FeedListener } from './feed.ts';

const adoptScript = new Script('adopt-cache', 'part-generation');
const followScript = new Script('follow-cache', 'part-generation');
const adoptReply = z.tuple([z.string(), z.string()]);
const adoptClusterScript = new Script('adopt-cluster', 'part-generation');
const adoptClusterReply = z.tuple([z.string(), z.string(), z.literal([0, 1])]);
const bucketGenerations = z.array(z.string()).length(ITEM_BUCKETS);

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
 *
 * On a cluster each bucket has a generation of its own (docs/decisions/0016-redis-cluster.md), and `generation` is the newest of
 * them: a master that was replaced makes the copies of its buckets cold and no others. A bucket that migrates takes its copies
 * along and keeps its generation.
 */
export class CacheGeneration implements FeedListener {
  readonly #layouts: CacheLayouts;
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
  #isReady = false;
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
    this.#queue = queue;
    this.#lanes = lanes;
    this.#options = options;
    this.#log = log;
    this.#layouts = cacheLayouts(cache, log, { onReady: this.#onReady, onClose: this.#onClose });
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
    this.#layouts.close();
    this.#session = undefined;
    this.#wake();
  }

  /** A server of the session says that it has not got a bucket any more. */
  moved(session: CacheSession): void {
    if (session === this.#session) this.#onReady();
  }

  readonly #onReady = (): void => {
    this.#isReady = true;
    this.#session = undefined;
    this.#isNew = true;
    this.#learn();
  };

  readonly #onClose = (): void => {
    this.#isReady = false;
    this.#round++;
    this.#session = undefined;
  };

  /** Another generation than ours may be in use. */
  #follow(): void {
    this.#session = undefined;
    if (this.#isReady) this.#learn();
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
        if (!isOver()) this.#layouts.lookAgain();
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
    const layout = await this.#layouts.now();
    const copies = layout.isCluster ? await this.#askFor(layout) : await this.#askForOne(layout);
    return copies === undefined ? undefined : CacheSession.begin(layout, copies);
  }

  async #askForOne({ servers }: CacheLayout): Promise<CopyKeys | undefined> {
    const { id = '' } = servers[0] ?? {};
    let [generation, server] = await this.#ask(id, this.#isNew);
    // The queue's Redis has lost the generation, so make one for this server.
    if (generation === '') [generation, server] = await this.#ask(id, true);
    return server === id ? (await this.#lanes()).home.copies(generation) : undefined;
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

  async #askFor({ servers, places }: CacheLayout): Promise<CopyKeys | undefined> {
    const ids = servers.map(({ id }) => id);
    const owners = places.map((place) => ids[place] as string);
    const lanes = await this.#lanes();
    const { cache, clock, feed } = lanes.home;
    const [generation, buckets, isOurs] = adoptClusterReply.parse(
      await adoptClusterScript.run(this.#queue, lanes.count === 1 ? [cache, clock, feed] : [cache], [
        JSON.stringify(owners),
        JSON.stringify(ids),
        this.#isNew ? 1 : 0,
        this.#options.cacheNeverOlder ? 1 : 0,
      ]),
    );
    if (lanes.count > 1) await this.#spread(lanes, generation);
    if (isOurs === 0) return undefined;
    return lanes.home.copies(generation, bucketGenerations.parse(JSON.parse(buckets)));
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
