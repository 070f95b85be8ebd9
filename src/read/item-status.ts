import { within } from '../abortable.ts';
import { TierUnavailableError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Redis } from '../redis/connect.ts';
import { pendingStamps } from '../redis/pending.ts';
import { type StoredHead, versionOf } from '../schema/stored-item.ts';
import type { PostgresTier } from '../tiers/postgres.ts';
import type { RedisTier } from '../tiers/redis.ts';
import type { Status } from '../types.ts';
import type { Floors } from './floors.ts';
import { isBelow } from './l1-entry.ts';
import type { ItemReads } from './item-reads.ts';
import type { OwnWriteView } from './own-writes.ts';

export interface StatusParts {
  readonly queue: Redis;
  readonly keys: Keys;
  /** Milliseconds to wait for Redis. */
  readonly timeoutMs: number;
  readonly l2: RedisTier;
  readonly l3: PostgresTier;
  readonly floors: Floors;
  readonly reads: ItemReads;
  readonly pending: OwnWriteView;
}

/** Asks every tier, and the index of pending writes of all processes, at once. @throws TierUnavailableError of any of them */
export async function statusOf(id: string, parts: StatusParts): Promise<Status> {
  const endReading = parts.floors.beginReading();
  try {
    return await askedStatus(id, parts);
  } finally {
    endReading();
  }
}

async function askedStatus(id: string, parts: StatusParts): Promise<Status> {
  const { queue, keys, timeoutMs, l2, l3, floors, reads, pending } = parts;
  const [[stamp], [copy], [found]] = await Promise.all([
    within(timeoutMs, pendingStamps(queue, keys, [id])).catch((error: unknown) => {
      throw new TierUnavailableError('l2', error);
    }),
    l2.getHeads([id]),
    l3.getHeads([id]),
  ]);
  const floor = floors.of(id);
  // When another read gave out a newer version meanwhile, Postgres has it by now.
  const [row] = floor !== undefined && isBelow(found, floor) ? await l3.getHeads([id]) : [found];
  if (row !== undefined) floors.given(id, row);
  const own = pending.get(id);
  const waiting = Math.max(stamp ?? 0, own === undefined ? 0 : versionOf(own));
  const inL1 = reads.isServed(id);
  const inL2 = isLive(copy);
  const inL3 = isLive(row);
  if (waiting > 0) return { status: 'pending', version: waiting, inL1, inL2, inL3 };
  if (!inL2 && !inL3) return { status: 'missing' };
  const version = Math.max(inL2 ? versionOf(copy) : 0, inL3 ? versionOf(row) : 0);
  return { status: 'synced', version, inL1, inL2, inL3 };
}

function isLive(item: StoredHead | undefined): item is StoredHead {
  return item !== undefined && item.kind !== 'deleted' && item.kind !== 'fence';
}
