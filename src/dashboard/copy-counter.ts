import type { Logger } from '../log.ts';
import { countCopies } from '../redis/copies.ts';
import type { CacheGeneration } from '../redis/cache-generation.ts';
import type { Redis } from '../redis/connect.ts';
import type { Keys } from '../keys.ts';
import type { Sources } from './sources.ts';

export interface CopyCount {
  readonly copies: number;
  readonly atMs: number;
}

/** A count is good for so long; counting a million copies takes about ten seconds, of which Redis works one. */
const FRESH_MS = 10_000;
/** Wait for the generation of the copies at most so long. */
const KNOWN_MS = 2000;

/** The number of L2 copies, counted in the background whenever a page asks and the last count has aged. */
export class CopyCounter {
  readonly #redis: Redis;
  readonly #generation: CacheGeneration;
  readonly #keys: Keys;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  #last: CopyCount | undefined;
  #counting: Promise<void> | undefined;

  constructor({ cache, generation, keys, log }: Pick<Sources, 'cache' | 'generation' | 'keys' | 'log'>) {
    this.#redis = cache;
    this.#generation = generation;
    this.#keys = keys;
    this.#log = log;
  }

  /** The newest count there is; undefined before the first one. */
  get latest(): CopyCount | undefined {
    if (Date.now() - (this.#last?.atMs ?? 0) > FRESH_MS && !this.#stop.signal.aborted) {
      this.#counting ??= this.#count().finally(() => (this.#counting = undefined));
    }
    return this.#last;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#counting;
  }

  async #count(): Promise<void> {
    try {
      await this.#generation.confirm();
      const { copies: current } = await this.#generation.known(KNOWN_MS);
      const copies = await countCopies(this.#redis, this.#keys, current.generation, this.#stop.signal);
      this.#last = { copies, atMs: Date.now() };
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#log.debug({ err: error }, 'L2 copies could not be counted');
    }
  }
}
