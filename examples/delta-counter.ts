import { randomUUID } from 'node:crypto';
import type { Store } from '../src/index.ts';

/**
 * A counter that many services add to without reading it first: the delta-first pattern.
 *
 *   base   counter:<name>                      { total, through }   everything up to bucket `through`, merged
 *   deltas delta:<name>:<bucket>:<operation>   { amount }           one item an addition, never written twice
 *
 * Adding is one submit. Reading is the base and the deltas of later buckets. Merging folds closed buckets into the base and
 * deletes each as a range. Deltas come in buckets because a range delete takes *every* item of its prefix, also one that was
 * added after the merge had read: only a bucket nobody adds to any more may go. The base names the last bucket it holds,
 * so a crash between its write and the range delete counts nothing twice.
 */
const BUCKET_MS = 60_000;
/** Clocks of services differ, and a delta may wait in the queue: a bucket is closed this long after its end. */
const GRACE_MS = 60_000;

interface Base {
  readonly total: number;
  readonly through: number;
}

export async function add(store: Store, name: string, amount: number, now = Date.now()): Promise<void> {
  const id = `${bucketPrefix(name, Math.floor(now / BUCKET_MS))}${randomUUID()}`;
  await store.submit({ id, content: { amount } });
}

export async function total(store: Store, name: string): Promise<number> {
  const base = await readBase(store, name);
  const { sum } = await deltasAfter(store, name, base.through, Number.POSITIVE_INFINITY);
  return base.total + sum;
}

/** Run it in one place at a time (a job scheduler). Returns how many deltas it merged. */
export async function merge(store: Store, name: string, now = Date.now()): Promise<number> {
  const closed = Math.floor((now - GRACE_MS) / BUCKET_MS) - 1;
  const base = await readBase(store, name);
  const { sum, buckets } = await deltasAfter(store, name, base.through, closed);
  const ticket = await store.submit({
    id: `counter:${name}`,
    content: { total: base.total + sum, through: closed },
  });
  // The base must be durable before what it holds is deleted.
  await ticket.settled();
  let merged = 0;
  for (const bucket of buckets) {
    const range = await store.deletePrefix(bucketPrefix(name, bucket));
    merged += (await range.settled()).deleted;
  }
  return merged;
}

async function readBase(store: Store, name: string): Promise<Base> {
  const item = await store.get(`counter:${name}`);
  return (item?.content as Base | undefined) ?? { total: 0, through: -1 };
}

async function deltasAfter(store: Store, name: string, after: number, through: number) {
  const buckets = new Set<number>();
  let sum = 0;
  for await (const { id, content } of store.scanPrefix(`delta:${name}:`)) {
    const bucket = Number(id.split(':')[2]);
    // A bucket at or below `after` is in the base already: its range delete was cut short.
    if (bucket <= through) buckets.add(bucket);
    if (bucket > after && bucket <= through) sum += (content as { amount: number }).amount;
  }
  return { sum, buckets };
}

/** Padded, so that no bucket's prefix is the beginning of another's. */
function bucketPrefix(name: string, bucket: number): string {
  return `delta:${name}:${String(bucket).padStart(10, '0')}:`;
}
