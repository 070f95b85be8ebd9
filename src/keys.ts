/**
 * Every Redis key Tierline uses, for a namespace `ns` (default `tierline`). Each partition has a lane of its own; `lane` is `ns`
 * when there is one partition, and `ns.p` for partition p of several.
 *
 *   {lane}:clock        hash    last (highest stamp given), epoch (changes when Redis lost its data),
 *                               entries (number of the newest feed entry), raised (the stamp of Postgres it starts above),
 *                               partitions (how many there are: a producer that counts otherwise gets no stamps)
 *   {lane}:inflight     zset    chunk id -> its first stamp, from stamping until settled
 *   {lane}:pending      hash    item id -> newest unsettled stamp
 *   {lane}:ranges       zset    range delete -> its stamp, from stamping until settled (also in inflight)
 *   {lane}:swept        zset    chunk whose note was taken back because it had no job -> when (µs); kept for a day
 *   {lane}:bytes        hash    chunk id -> the bytes it takes in the queue, while in flight; total: their sum
 *   {lane}:covers       hash    range delete in `ranges` -> JSON of its stamp and of the prefix or state it deletes
 *   {lane}:feed         stream  the change feed, one entry a batch
 *   {lane}:settles      stream  the newest settle alone and nothing in it: workers that hold waiting jobs block on it
 *   {lane}:outcome:<c>  string  JSON of chunk c's outcomes that are not plain `applied`; expires
 *   {lane}:cache        hash    generation of the L2 copies, as settling compares it
 *   {lane}:writes:*     BullMQ's queue of chunks
 *   {lane}:ranges-queue:* BullMQ's queue of range deletes
 *
 *   {ns}:deployment   hash    id of the deployment, and how many partitions it has
 *   {ns}:timeouts     zset    enqueue -> the longest enqueueTimeoutMs of any producer
 *   {ns}:series:<m>   hash    what settled in minute m since 1970, in slots of 10 s; expires
 *   {ns}:chores       hash    maintenance chore -> JSON of its last run
 *   {ns}:cache        hash    generation of the L2 copies, server: run id of the cache server it was made for. On a cluster
 *                             the newest generation, owners and generations (JSON, one a bucket), masters (JSON)
 *   {ns}:copy-turns   hash    the sweep of L2: JSON of the turn under way (current) and of the one before (last)
 *   {ns}:row-sweep    hash    shard -> the id of the last row whose digest maintenance has made again
 *   {ns}:lost-writes  zset    item id -> the turn that found its L2 copy newer than its row
 *   {ns}:signed-out:<s> string  dashboard session s was signed out before its time; expires with the session
 *   {ns}:maintenance:* BullMQ's queue of maintenance jobs
 *   ns:item:{b}:<g>:<id> string  the L2 copy of one item; b is its bucket, 0 to 63, g the generation of the copies
 *   ns:bucket:{b}:epoch  string  changes when the bucket lost copies: copies of rows that were read before are refused
 *
 * The braces are a Redis Cluster hash tag: all keys of one script or transaction lie in one slot. The L2 copies spread over
 * the slots of 64 buckets, and a script call writes many of them: a call an item would cost 4 µs of Redis and 8 µs of the worker
 * more. On a cluster a call names copies of one bucket only.
 */
export interface Keys {
  /** How many partitions there are when these keys are right. */
  readonly partitions: number;
  readonly queuePrefix: string;
  readonly clock: string;
  readonly inflight: string;
  readonly pending: string;
  readonly ranges: string;
  readonly covers: string;
  readonly swept: string;
  readonly timeouts: string;
  readonly bytes: string;
  readonly feed: string;
  readonly settles: string;
  readonly deployment: string;
  readonly chores: string;
  readonly cache: string;
  readonly copyTurns: string;
  readonly rowSweep: string;
  readonly lostWrites: string;
  outcome(chunkId: string): string;
  signedOut(sessionId: string): string;
  /** BullMQ's key of a job. */
  job(queue: string, jobId: string): string;
  series(minute: number): string;
  /** The key of every L2 copy, of any generation, begins with it. */
  readonly itemPrefix: string;
  /** @param buckets the generation of each bucket, where they have one of their own; `generation` is the newest of them */
  copies(generation: string, buckets?: readonly string[]): CopyKeys;
}

/** The keys of the L2 copies of one generation, and of their buckets' epochs. */
export interface CopyKeys {
  readonly generation: string;
  /** The generation of one item's copy. */
  generationOf(id: string): string;
  item(id: string): string;
  /** One for all generations. It lies in the slot of the bucket's copies, and no id makes the same key. */
  epoch(bucket: number): string;
}

/** What the key of an L2 copy says; undefined for any other key. */
export interface CopyKeyParts {
  readonly generation: string;
  readonly id: string;
}

export const ITEM_BUCKETS = 64;
/** FNV-1a of the whole id. A hash of some of its characters would put ids that differ elsewhere into one bucket. */
export function bucketOf(id: string): number {
  let mixed = id.length;
  for (let i = 0; i < id.length; i++) mixed = Math.imul(mixed ^ id.charCodeAt(i), 0x0100_0193);
  return (mixed ^ (mixed >>> 15)) & (ITEM_BUCKETS - 1);
}

export const WRITES_QUEUE = 'writes';
export const RANGES_QUEUE = 'ranges-queue';
export const MAINTENANCE_QUEUE = 'maintenance';

/** The keys of the deployment and of one of its lanes. */
export function keysOf(namespace: string, partition = 0, partitions = 1): Keys {
  const home = `{${namespace}}`;
  const tag = partitions === 1 ? home : `{${namespace}.${partition}}`;
  const itemPrefix = `${namespace}:item:`;
  return {
    partitions,
    queuePrefix: tag,
    clock: `${tag}:clock`,
    inflight: `${tag}:inflight`,
    pending: `${tag}:pending`,
    ranges: `${tag}:ranges`,
    covers: `${tag}:covers`,
    settles: `${tag}:settles`,
    swept: `${tag}:swept`,
    deployment: `${home}:deployment`,
    timeouts: `${home}:timeouts`,
    bytes: `${tag}:bytes`,
    feed: `${tag}:feed`,
    chores: `${home}:chores`,
    copyTurns: `${home}:copy-turns`,
    rowSweep: `${home}:row-sweep`,
    lostWrites: `${home}:lost-writes`,
    series: (minute) => `${home}:series:${minute}`,
    outcome: (chunkId) => `${tag}:outcome:${chunkId}`,
    signedOut: (sessionId) => `${home}:signed-out:${sessionId}`,
    cache: `${tag}:cache`,
    job: (queue, jobId) => `${tag}:${queue}:${jobId}`,
    itemPrefix,
    copies(generation, buckets) {
      const generationIn = (bucket: number) => buckets?.[bucket] ?? generation;
      const prefixes = Array.from(
        { length: ITEM_BUCKETS },
        (_, bucket) => `${itemPrefix}{${bucket}}:${generationIn(bucket)}:`,
      );
      return {
        generation,
        generationOf: (id) => generationIn(bucketOf(id)),
        item: (id) => (prefixes[bucketOf(id)] as string) + id,
        epoch: (bucket) => `${namespace}:bucket:{${bucket}}:epoch`,
      };
    },
  };
}

/** Takes a key of `itemPrefix` apart. A generation holds no colon, an id may. */
export function parseCopyKey({ itemPrefix }: Keys, key: string): CopyKeyParts | undefined {
  if (!key.startsWith(itemPrefix)) return undefined;
  const found = /^\{\d+\}:([^:]+):/.exec(key.slice(itemPrefix.length));
  if (found === null) return undefined;
  return { generation: found[1] as string, id: key.slice(itemPrefix.length + found[0].length) };
}

/** Generations are numbers in base 36. False for any other text. */
export function isOlderGeneration(generation: string, than: string): boolean {
  return /^[\da-z]+$/.test(generation) && Number.parseInt(generation, 36) < Number.parseInt(than, 36);
}
