import { ClosedError, TierUnavailableError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Redis } from '../redis/connect.ts';
import { pendingStamps } from '../redis/pending.ts';
import { parseId } from '../schema/item.ts';
import { type StoredItem, toItem, versionOf } from '../schema/stored-item.ts';
import type { PostgresTier } from '../tiers/postgres.ts';
import type { RedisTier } from '../tiers/redis.ts';
import type { CallOptions, Item, Merkle, Reader, Status } from '../types.ts';
import type { TierLookup } from './lookup.ts';
import { isComplete, type PendingView, withPending } from './pending-view.ts';

export interface ReaderParts {
  readonly queue: Redis;
  readonly keys: Keys;
  readonly l2: RedisTier;
  readonly l3: PostgresTier;
  readonly lookup: TierLookup;
  readonly merkle: Merkle;
  readonly pending: PendingView;
  readonly release: () => Promise<void>;
}

export class TieredReader implements Reader {
  readonly merkle: Merkle;
  readonly #parts: ReaderParts;
  #closing: Promise<void> | undefined;

  constructor(parts: ReaderParts) {
    this.#parts = parts;
    this.merkle = parts.merkle;
  }

  /** @throws InvalidItemError, TierUnavailableError of L3, CorruptItemError, ClosedError */
  async get(id: string, options?: CallOptions): Promise<Item | undefined> {
    return (await this.getMany([id], options))[0];
  }

  /** @throws InvalidItemError, TierUnavailableError of L3, CorruptItemError, ClosedError */
  async getMany(ids: readonly string[], { signal }: CallOptions = {}): Promise<(Item | undefined)[]> {
    this.#refuseWhenClosed();
    signal?.throwIfAborted();
    const { pending, lookup } = this.#parts;
    for (const id of ids) parseId(id);
    const asked = [...new Set(ids)].filter((id) => {
      const own = pending.get(id);
      return own === undefined || !isComplete(own);
    });
    const found = asked.length === 0 ? new Map<string, StoredItem>() : await lookup.find(asked);
    signal?.throwIfAborted();
    // Pending writes are looked up after the tiers: one accepted meanwhile may have been returned by another call.
    return ids.map((id) => {
      const stored = withPending(id, found.get(id), pending.get(id));
      return stored === undefined || stored.kind === 'd' ? undefined : toItem(stored);
    });
  }

  /** Asks every tier and the index of pending writes. @throws InvalidItemError, TierUnavailableError, ClosedError */
  async status(id: string, { signal }: CallOptions = {}): Promise<Status> {
    this.#refuseWhenClosed();
    parseId(id);
    const { queue, keys, l2, l3 } = this.#parts;
    const [[pending], [copy], [row]] = await Promise.all([
      pendingStamps(queue, keys, [id]).catch((error: unknown) => {
        throw new TierUnavailableError('l2', error);
      }),
      l2.getMany([id]),
      l3.getMany([id]),
    ]);
    signal?.throwIfAborted();
    const inL2 = isLive(copy);
    const inL3 = isLive(row);
    const stored = Math.max(inL2 ? versionOf(copy) : 0, inL3 ? versionOf(row) : 0);
    if (pending !== undefined) return { status: 'pending', version: pending, inL1: false, inL2, inL3 };
    return inL2 || inL3
      ? { status: 'synced', version: stored, inL1: false, inL2, inL3 }
      : { status: 'missing' };
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#parts.release());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #refuseWhenClosed(): void {
    if (this.#closing !== undefined) throw new ClosedError('The reader is closed. Open a new one.');
  }
}

function isLive(item: StoredItem | undefined): item is StoredItem {
  return item !== undefined && item.kind !== 'd';
}
