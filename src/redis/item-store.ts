import { z } from 'zod';
import { messageOf } from '../errors.ts';
import { bucketOf } from '../keys.ts';
import { STORED_HEAD_CHARS } from '../schema/stored-item.ts';
import type { CacheGeneration } from './cache-generation.ts';
import { type CacheSession, type Look, LOOK_MS, newEpoch } from './cache-session.ts';
import type { Server } from './client.ts';
import { isUnknownScript, repliesOf, type Reply, resultsOf, Script } from './commands.ts';
import { redisFailure } from './connect.ts';
import { isReply } from './driver.ts';
import type { StoredEntry } from './stored-entry.ts';

const setNewerScript = new Script('set-newer', 'part-memory');
const dropCopyScript = new Script('drop-copy');
/** Ids of one MGET. */
const PART_IDS = 125;
/** How long a read waits to learn where a bucket has moved to. */
const MOVE_MS = 1000;
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
  readonly #generation: CacheGeneration;
  readonly #maxShare: number;

  /** @param maxShare of a server's `maxmemory` from which it takes no further copies; 0 for no such limit */
  constructor(generation: CacheGeneration, maxShare = 0) {
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
   * Redis serves the next (500 ids: a fifth less time than one MGET). A cluster gets them in one pipeline a server.
   */
  getParts(ids: readonly string[]): Promise<(string | null)[]>[] {
    const session = this.#known();
    if (session.layout.isCluster) return [this.#getFromCluster(session, ids)];
    const redis = session.server(0);
    return Array.from({ length: Math.ceil(ids.length / PART_IDS) }, (_, part) => {
      const keys = ids.slice(part * PART_IDS, (part + 1) * PART_IDS).map((id) => session.copies.item(id));
      const values = redis.mget(keys);
      // A caller that still waits for the part before sees the broken connection there.
      values.catch(() => undefined);
      return values;
    });
  }

  /**
   * Asks once more for the buckets that have moved to another server. Those that move at the moment count as without copies:
   * L3 has the rows, and what a half-moved slot lacks is not known.
   */
  async #getFromCluster(
    session: CacheSession,
    ids: readonly string[],
    isAgain = false,
  ): Promise<(string | null)[]> {
    const values = ids.map((): string | null => null);
    const moved: number[] = [];
    await Promise.all(
      byServer(session, byBucket(ids)).map(async ([redis, buckets]) => {
        const pipeline = redis.pipeline();
        for (const { places } of buckets)
          pipeline.mget(places.map((i) => session.copies.item(ids[i] as string)));
        const replies = await resultsOf(pipeline);
        for (const [b, { places }] of buckets.entries()) {
          const [error, found] = replies[b] as Reply;
          if (error === null) places.forEach((i, n) => (values[i] = (found as (string | null)[])[n] ?? null));
          else if (isMoved(error) && !isAgain) moved.push(...places);
          else if (!isMoving(error)) throw error;
        }
      }),
    );
    if (moved.length === 0) return values;
    this.#generation.moved(session);
    const asked = moved.map((i) => ids[i] as string);
    const again = await this.#getFromCluster(await this.#generation.known(MOVE_MS), asked, true);
    moved.forEach((i, n) => (values[i] = again[n] as string | null));
    return values;
  }

  /** The first characters of each value, enough for `decodeStoredHead`; '' where there is none. One round trip. */
  async getHeads(ids: readonly string[]): Promise<string[]> {
    const session = this.#known();
    const heads = ids.map(() => '');
    await Promise.all(
      byServer(session, byBucket(ids)).map(async ([redis, buckets]) => {
        const pipeline = redis.pipeline();
        const places = buckets.flatMap((bucket) => bucket.places);
        for (const i of places) {
          pipeline.getrange(session.copies.item(ids[i] as string), 0, STORED_HEAD_CHARS - 1);
        }
        for (const [n, [error, reply]] of (await resultsOf(pipeline)).entries()) {
          if (error === null) heads[places[n] as number] = String(reply);
          // A value of another type is no copy, as for MGET.
          else if (redisFailure(error) !== 'data') throw this.#told(session, error);
        }
      }),
    );
    return heads;
  }

  /** One copy and its remaining life in milliseconds (-1 for no end), for people to look at; undefined where there is none. */
  async inspect(id: string): Promise<{ readonly value: string; readonly ttlMs: number } | undefined> {
    const session = this.#known();
    const redis = session.server(bucketOf(id));
    const key = session.copies.item(id);
    const [value, ttlMs] = await Promise.all([redis.get(key), redis.pttl(key)]);
    return value === null ? undefined : { value, ttlMs };
  }

  /** Drops a value that cannot be used, unless another has taken its place. */
  async dropCopy(id: string, value: string): Promise<void> {
    const session = this.#known();
    await dropCopyScript.run(session.server(bucketOf(id)), [session.copies.item(id)], [value]);
  }

  /**
   * Drops copies whatever they hold. Their buckets begin a new epoch, because a dropped copy may have kept an older one out.
   * DEL works on a full server too.
   */
  async drop(ids: readonly string[]): Promise<void> {
    const session = this.#known();
    await Promise.all(
      byServer(session, byBucket(ids)).map(async ([redis, buckets]) => {
        const pipeline = redis.pipeline();
        for (const { bucket, places } of buckets) {
          pipeline.del(
            session.copies.epoch(bucket),
            ...places.map((i) => session.copies.item(ids[i] as string)),
          );
        }
        await repliesOf(pipeline).catch((error: unknown) => {
          throw this.#told(session, error);
        });
      }),
    );
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
    const calls = callsOf(look.session, byBucket(entries.map(({ id }) => id)));
    let results = await this.#runScript(entries, calls, look, likelyAbsent);
    if (results.some(([error]) => isUnknownScript(error))) {
      await Promise.all(look.session.layout.servers.map(({ redis }) => setNewerScript.load(redis)));
      if (look.session !== this.#known()) return fates;
      results = await this.#runScript(entries, calls, look, likelyAbsent);
    }
    const unwritable: number[] = [];
    results.forEach(([error, reply], c) => {
      const buckets = calls[c] as BucketPlaces[];
      const places = buckets.flatMap((bucket) => bucket.places);
      if (error !== null) {
        if (redisFailure(error) === 'away') throw this.#told(look.session, error);
        unwritable.push(...places);
        return;
      }
      const [serverMs, changed, newer] = setNewerReply.parse(reply);
      look.session.heardTime((buckets[0] as BucketPlaces).bucket, serverMs);
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

  /** The results of the calls in their order. All servers are asked at once, each with one pipeline. */
  async #runScript(
    entries: readonly StoredEntry[],
    calls: readonly BucketPlaces[][],
    { session, times, epochs }: Look,
    likelyAbsent: boolean,
  ): Promise<Reply[]> {
    const results: Reply[] = [];
    const perServer = grouped([...calls.keys()], (c) =>
      session.server(serverBucket(calls[c] as BucketPlaces[])),
    );
    await Promise.all(
      perServer.map(async ([redis, places]) => {
        const pipeline = redis.pipeline();
        for (const c of places) {
          const buckets = calls[c] as BucketPlaces[];
          const at = times[session.layout.places[serverBucket(buckets)] as number] as number;
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
        const replies = await resultsOf(pipeline);
        places.forEach((c, n) => (results[c] = replies[n] as Reply));
      }),
    );
    return results;
  }

  /** The error, after the generation has been told when it says that a bucket has moved. */
  #told(session: CacheSession, error: unknown): unknown {
    if (isMoved(error)) this.#generation.moved(session);
    return error;
  }

  #known(): CacheSession {
    const session = this.#generation.session;
    if (session === undefined) throw new CacheUnknownError();
    return session;
  }
}

function grouped<T, K>(values: readonly T[], keyOf: (value: T) => K): [K, T[]][] {
  const groups = new Map<K, T[]>();
  for (const value of values) {
    const key = keyOf(value);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [value]);
    else group.push(value);
  }
  return [...groups];
}

/** The places of the ids of each bucket. */
function byBucket(ids: readonly string[]): BucketPlaces[] {
  const groups = grouped([...ids.keys()], (i) => bucketOf(ids[i] as string));
  return groups.map(([bucket, places]) => ({ bucket, places }));
}

/** The buckets of each server. */
function byServer(session: CacheSession, buckets: readonly BucketPlaces[]): [Server, BucketPlaces[]][] {
  return grouped(buckets, ({ bucket }) => session.server(bucket));
}

/** All buckets of one call are of one server. */
function serverBucket([first]: readonly BucketPlaces[]): number {
  return (first as BucketPlaces).bucket;
}

/** The bucket is another server's now. */
function isMoved(error: unknown): boolean {
  return isReply(error) && messageOf(error).startsWith('MOVED ');
}

/** The bucket is on its way to another server. */
function isMoving(error: unknown): boolean {
  return isReply(error) && /^(ASK|TRYAGAIN) /.test(messageOf(error));
}

/** The buckets of each call. */
function callsOf({ layout }: CacheSession, buckets: readonly BucketPlaces[]): BucketPlaces[][] {
  if (layout.isCluster) return buckets.map((bucket) => [bucket]);
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
