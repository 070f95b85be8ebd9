/**
 * Every Redis key Tierline uses, for a namespace `ns` (default `tierline`):
 *
 *   {ns}:clock        hash    last (highest stamp given), epoch (changes when Redis lost its data),
 *                             entries (number of the newest feed entry), raised (the stamp of Postgres it starts above)
 *   {ns}:inflight     zset    chunk id -> its first stamp, from stamping until settled
 *   {ns}:pending      hash    item id -> newest unsettled stamp
 *   {ns}:ranges       zset    range delete -> its stamp, from stamping until settled (also in inflight)
 *   {ns}:feed         stream  the change feed, one entry a batch
 *   {ns}:outcome:<c>  string  JSON of chunk c's outcomes that are not plain `applied`; expires
 *   {ns}:series:<m>   hash    what settled in minute m since 1970, in slots of 10 s; expires
 *   {ns}:chores       hash    maintenance chore -> JSON of its last run
 *   {ns}:writes:*     BullMQ's queue of chunks
 *   {ns}:ranges-queue:* BullMQ's queue of range deletes
 *   {ns}:maintenance:* BullMQ's queue of maintenance jobs
 *   ns:item:<id>      string  the L2 copy of one item
 *
 * The braces are a Redis Cluster hash tag: whatever one script or transaction touches together lies in one slot. L2
 * copies have none, so they spread over all slots, and no command names two of them across slots.
 */
export interface Keys {
  readonly queuePrefix: string;
  readonly clock: string;
  readonly inflight: string;
  readonly pending: string;
  readonly ranges: string;
  readonly feed: string;
  readonly chores: string;
  outcome(chunkId: string): string;
  series(minute: number): string;
  item(id: string): string;
}

export const WRITES_QUEUE = 'writes';
export const RANGES_QUEUE = 'ranges-queue';
export const MAINTENANCE_QUEUE = 'maintenance';

export function keysOf(namespace: string): Keys {
  const tag = `{${namespace}}`;
  const itemPrefix = `${namespace}:item:`;
  return {
    queuePrefix: tag,
    clock: `${tag}:clock`,
    inflight: `${tag}:inflight`,
    pending: `${tag}:pending`,
    ranges: `${tag}:ranges`,
    feed: `${tag}:feed`,
    chores: `${tag}:chores`,
    series: (minute) => `${tag}:series:${minute}`,
    outcome: (chunkId) => `${tag}:outcome:${chunkId}`,
    item: (id) => itemPrefix + id,
  };
}
