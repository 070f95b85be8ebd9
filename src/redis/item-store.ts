import { z } from 'zod';
import { bucketOf } from '../keys.ts';
import { encodeStored, STORED_HEAD_CHARS, type StoredItem } from '../schema/stored-item.ts';
import { type CacheGeneration, type CacheSession, type Look, LOOK_MS, newEpoch } from './cache-generation.ts';
import { type Redis, redisFailure } from './connect.ts';
import { isUnknownScript, repliesOf, type Reply, resultsOf, Script } from './commands.ts';

const setNewerScript = new Script('set-newer');
const dropCopyScript = new Script('drop-copy');
/** Ids of one MGET. */
const PART_IDS = 125;
/**
 * Entries of one call, roughly, so that Redis answers others after a millisecond. A call a bucket, 64 a batch, took 2 µs more
 * of worker and Redis an item.
 */
const CALL_ENTRIES = 250;
/**
 * Server time; place, epoch and whether it was taken, of buckets that answer otherwise than expected; and the places of the
 * entries for which a newer one is stored. Places count from 1.
 */
const setNewerReply = z.tuple([
  z.number(),
  z.array(z.tuple([z.int(), z.string(), z.literal([0, 1])])),
  z.array(z.int()),
]);

export interface StoredEntry {
  readonly id: string;
  /** What `encodeStored` gave. */
  readonly value: string;
  /** Milliseconds to live; 0 for no end. */
  readonly ttlMs: number;
}

/**
 * What became of a copy. `stored`: L2 holds it. `newer`: L2 holds a newer one. `late`: refused, because its look is too
 * old or L2 lost copies since: look again. `dropped`: Redis cannot take it (no memory, or the key holds another type); the
 * older copy is gone too, so readers go on to L3.
 */
export type CopyFate = 'stored' | 'newer' | 'late' | 'dropped';

/** The entries of one bucket, as places in the list of all. */
interface BucketPlaces {
  readonly bucket: number;
  readonly places: readonly number[];
}

/** L2 cannot be used, because it is not known at the moment which of its copies are good. Try again. */
export class CacheUnknownError extends Error {
  constructor() {
    super('the generation of the copies is not known yet');
  }
}

/**
 * The L2 copies: one text value an item. Only a newer one replaces it, and only a fresh look at Postgres writes it.
 * Every method throws `CacheUnknownError` while the generation of the copies is unknown.
 */
export class ItemStore {
  readonly #redis: Redis;
  readonly #generation: CacheGeneration;
  readonly #maxShare: number;

  /** @param maxShare of the server's `maxmemory` from which it takes no further copies; 0 for no such limit */
  constructor(redis: Redis, generation: CacheGeneration, maxShare = 0) {
    this.#redis = redis;
    this.#generation = generation;
    this.#maxShare = maxShare;
  }

  /** Names the connection and the generation in which copies are written; undefined while that is unknown. */
  get session(): CacheSession | undefined {
    return this.#generation.session;
  }

  /** Take it before the statement that reads the rows is sent; undefined while the generation is unknown. */
  look(): Look | undefined {
    return this.#generation.session?.look();
  }

  /** Asks whether the generation is still in use. When it is not, it is unknown for a moment. */
  confirm(): Promise<void> {
    return this.#generation.confirm();
  }

  isFresh(look: Look): boolean {
    return this.#generation.session?.isFresh(look) === true;
  }

  /**
   * Values in the order of `ids`, null where there is none. Sends a few MGETs together: the caller reads one answer while
   * Redis serves the next (500 ids: a fifth less time than one MGET).
   */
  getParts(ids: readonly string[]): Promise<(string | null)[]>[] {
    const { copies } = this.#known();
    return Array.from({ length: Math.ceil(ids.length / PART_IDS) }, (_, part) => {
      const keys = ids.slice(part * PART_IDS, (part + 1) * PART_IDS).map((id) => copies.item(id));
      const values = this.#redis.mget(keys);
      // A caller that still waits for the part before sees the broken connection there.
      values.catch(() => undefined);
      return values;
    });
  }

  /** The first characters of each value, enough for `decodeStoredHead`; '' where there is none. One round trip. */
  async getHeads(ids: readonly string[]): Promise<string[]> {
    const { copies } = this.#known();
    const pipeline = this.#redis.pipeline();
    for (const id of ids) pipeline.getrange(copies.item(id), 0, STORED_HEAD_CHARS - 1);
    return (await resultsOf(pipeline)).map(([error, reply]) => {
      if (error === null) return String(reply);
      // A value of another type is no copy, as for MGET.
      if (redisFailure(error) === 'data') return '';
      throw error;
    });
  }

  /** One copy and its remaining life in milliseconds (-1 for no end), for people to look at; undefined where there is none. */
  async inspect(id: string): Promise<{ readonly value: string; readonly ttlMs: number } | undefined> {
    const key = this.#known().copies.item(id);
    const [value, ttlMs] = await Promise.all([this.#redis.get(key), this.#redis.pttl(key)]);
    return value === null ? undefined : { value, ttlMs };
  }

  /** Drops a value that cannot be used, unless another has taken its place. */
  async dropCopy(id: string, value: string): Promise<void> {
    await dropCopyScript.run(this.#redis, [this.#known().copies.item(id)], [value]);
  }

  /**
   * Drops copies whatever they hold. Their buckets begin a new epoch, because a dropped copy may have kept an older one out.
   * DEL works on a full server too.
   */
  async drop(ids: readonly string[]): Promise<void> {
    const { copies } = this.#known();
    const pipeline = this.#redis.pipeline();
    for (const { bucket, places } of byBucket(ids)) {
      pipeline.del(copies.epoch(bucket), ...places.map((i) => copies.item(ids[i] as string)));
    }
    await repliesOf(pipeline);
  }

  /**
   * Stores each entry unless a newer one is there: a few calls of the script, all in one round trip.
   * @param look taken before the entries' rows were asked for
   * @param likelyAbsent few have a copy yet, so the script tries SET NX first (4 instead of 5 to 6 µs of Redis an item; 1 µs
   *   more for an item that has one)
   * @returns the fate of each entry
   * @throws what kept Redis from answering
   */
  async setNewer(
    entries: readonly StoredEntry[],
    look: Look | undefined,
    likelyAbsent = false,
  ): Promise<CopyFate[]> {
    const fates = entries.map((): CopyFate => 'late');
    if (look === undefined || entries.length === 0) return fates;
    // A look on another connection may be of another server.
    if (look.session !== this.#known()) return fates;
    const calls = callsOf(byBucket(entries.map(({ id }) => id)));
    let results = await this.#runScript(entries, calls, look, likelyAbsent);
    if (results.some(([error]) => isUnknownScript(error))) {
      await setNewerScript.load(this.#redis);
      if (look.session !== this.#known()) return fates;
      results = await this.#runScript(entries, calls, look, likelyAbsent);
    }
    const unwritable: number[] = [];
    results.forEach(([error, reply], c) => {
      const buckets = calls[c] as BucketPlaces[];
      const places = buckets.flatMap((bucket) => bucket.places);
      if (error !== null) {
        if (redisFailure(error) === 'away') throw error;
        unwritable.push(...places);
        return;
      }
      const [serverMs, changed, newer] = setNewerReply.parse(reply);
      look.session.heardTime(serverMs);
      for (const i of places) fates[i] = 'stored';
      for (const place of newer) fates[places[place - 1] as number] = 'newer';
      for (const [place, epoch, taken] of changed) {
        const { bucket, places: of } = buckets[place - 1] as BucketPlaces;
        look.session.heardEpoch(bucket, epoch);
        if (taken === 0) for (const i of of) fates[i] = 'late';
      }
    });
    if (unwritable.length > 0) {
      await this.drop(unwritable.map((i) => (entries[i] as StoredEntry).id));
      for (const i of unwritable) fates[i] = 'dropped';
    }
    return fates;
  }

  #runScript(
    entries: readonly StoredEntry[],
    calls: readonly BucketPlaces[][],
    { session, at, epochs }: Look,
    likelyAbsent: boolean,
  ): Promise<Reply[]> {
    const pipeline = this.#redis.pipeline();
    for (const buckets of calls) {
      const keys = buckets.map(({ bucket }) => session.copies.epoch(bucket));
      const seen = buckets.flatMap(({ bucket, places }) => [epochs[bucket] ?? '', places.length]);
      const lives: number[] = [];
      const values: string[] = [];
      for (const { places } of buckets) {
        for (const i of places) {
          const { id, value, ttlMs } = entries[i] as StoredEntry;
          keys.push(session.copies.item(id));
          values.push(value);
          lives.push(ttlMs);
        }
      }
      const life = lives.every((ms) => ms === lives[0]) ? lives[0] : lives;
      const args: (string | number)[] = [
        at,
        LOOK_MS,
        newEpoch(),
        likelyAbsent ? 1 : 0,
        this.#maxShare,
        buckets.length,
      ];
      args.push(JSON.stringify(life), ...seen, ...values);
      pipeline.evalsha(setNewerScript.sha, keys.length, ...keys, ...args);
    }
    return resultsOf(pipeline);
  }

  #known(): CacheSession {
    const session = this.#generation.session;
    if (session === undefined) throw new CacheUnknownError();
    return session;
  }
}

/** The places of the ids of each bucket. */
function byBucket(ids: readonly string[]): BucketPlaces[] {
  const buckets = new Map<number, number[]>();
  ids.forEach((id, i) => {
    const bucket = bucketOf(id);
    const places = buckets.get(bucket);
    if (places === undefined) buckets.set(bucket, [i]);
    else places.push(i);
  });
  return Array.from(buckets, ([bucket, places]) => ({ bucket, places }));
}

/** The buckets of each call. */
function callsOf(buckets: readonly BucketPlaces[]): BucketPlaces[][] {
  const calls: BucketPlaces[][] = [];
  let left = 0;
  for (const bucket of buckets) {
    if (left <= 0) {
      calls.push([]);
      left = CALL_ENTRIES;
    }
    calls.at(-1)?.push(bucket);
    left -= bucket.places.length;
  }
  return calls;
}

/** How long copies made from rows live, and tombstones and fences, in milliseconds. */
export interface Lifetimes {
  readonly tombstoneTtlMs: number;
  readonly backfillTtlMs: number;
}

/** Whether the item's content must not come into L2. */
export function isDurableOnly({ kind, tiers }: Pick<StoredItem, 'kind' | 'tiers'>): boolean {
  return tiers === 'durable' && kind !== 'deleted';
}

/**
 * What L2 keeps of an item. Of an item for L3 alone it is a fence: the stamps without the content.
 * @param ttlMs life of a copy with content; 0 for no end; by default that of copies made from rows
 */
export function storedEntry(
  item: StoredItem,
  lifetimes: Lifetimes,
  ttlMs: number = lifetimes.backfillTtlMs,
): StoredEntry {
  const copy = isDurableOnly(item) ? fenceOf(item) : item;
  const hasContent = copy.kind === 'json' || copy.kind === 'binary';
  return {
    id: copy.id,
    value: encodeStored(copy),
    ttlMs: hasContent ? ttlMs : lifetimes.tombstoneTtlMs,
  };
}

/** Replaces an older copy, and keeps an older back-fill out. */
function fenceOf({ id, contentVersion, stateVersion, digest, contentHash, state }: StoredItem): StoredItem {
  return {
    id,
    kind: 'fence',
    contentVersion,
    stateVersion,
    tiers: 'all',
    digest,
    contentHash,
    state,
    body: '',
  };
}
