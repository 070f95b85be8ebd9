import { ClosedError, InvalidItemError } from '../errors.ts';
import type { FeedTail } from '../redis/feed.ts';
import type { FeedPosition } from '../schema/feed.ts';
import { parseId } from '../schema/item.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import type {
  CallOptions,
  GetOptions,
  Health,
  Item,
  Lookup,
  Merkle,
  Page,
  PageOptions,
  ReadCounters,
  Reader,
  Scan,
  ScanOptions,
  Status,
} from '../types.ts';
import { abortable } from '../abortable.ts';
import type { Coherence } from './coherence.ts';
import type { Held } from './held.ts';
import type { ItemReads } from './item-reads.ts';
import { type StatusParts, statusOf } from './item-status.ts';
import { type HealthParts, readerHealth } from './reader-health.ts';
import type { Presence } from './presence.ts';
import { ofPrefix, ofState, type Queries } from './queries.ts';
import type { TrustedFilter } from './trusted-filter.ts';
import type { VerifiedReads } from './verified.ts';

export interface ReaderParts {
  readonly l1: MemoryTier<Held>;
  readonly reads: ItemReads;
  readonly verified: VerifiedReads;
  readonly coherence: Coherence;
  readonly tail: Pick<FeedTail, 'hasReached'>;
  readonly filter: TrustedFilter;
  readonly presence: Presence;
  readonly queries: Queries;
  readonly status: StatusParts;
  readonly health: HealthParts;
  readonly merkle: Merkle;
  readonly counters: () => ReadCounters;
  readonly release: () => Promise<void>;
}

/** The read side as callers see it. What each call costs and promises stands in docs/api.md. */
export class TieredReader implements Reader {
  readonly merkle: Merkle;
  readonly #parts: ReaderParts;
  /** Beside `#parts`: a hit goes through here. */
  readonly #reads: ItemReads;
  #closing: Promise<void> | undefined;

  constructor(parts: ReaderParts) {
    this.#parts = parts;
    this.#reads = parts.reads;
    this.merkle = parts.merkle;
  }

  /** @throws InvalidItemError, TierUnavailableError of L3, CorruptItemError (only with `verify`), ClosedError, or the signal's reason */
  get(id: string, options?: GetOptions): Promise<Item | undefined> {
    if (options === undefined && this.#closing === undefined) return this.#reads.get(id);
    return this.#call(
      () => (options?.verify === true ? this.#parts.verified.get(id) : this.#reads.get(id)),
      options,
    );
  }

  /** @throws as `get` */
  lookup(id: string, options?: CallOptions): Promise<Lookup> {
    return this.#call(() => this.#reads.lookup(id), options);
  }

  peek(id: string): Item | undefined {
    return this.#reads.peek(id);
  }

  /** @throws as `get`; one id that cannot be read fails the call */
  getMany(ids: readonly string[], options?: CallOptions): Promise<(Item | undefined)[]> {
    return this.#call(() => {
      if (!Array.isArray(ids)) throw new InvalidItemError('ids', 'must be an array');
      return this.#reads.getMany(ids);
    }, options);
  }

  /** @throws InvalidItemError, TierUnavailableError of L3 when it alone could tell, ClosedError, or the signal's reason */
  contains(id: string, options?: CallOptions): Promise<boolean> {
    return this.#call(() => {
      if (this.#parts.status.pending.get(parseId(id)) === undefined) return this.#parts.presence.exists(id);
      return this.#reads.get(id).then((item) => item !== undefined);
    }, options);
  }

  mightExist(id: string): boolean {
    return !this.definitelyMissing(id);
  }

  definitelyMissing(id: string): boolean {
    return this.#parts.filter.lacks(id) && this.#parts.status.pending.get(id) === undefined;
  }

  /** @throws as `get` */
  async isCurrent(id: string, contentHash: string, options?: CallOptions): Promise<boolean> {
    return (await this.get(id, options))?.contentHash === contentHash;
  }

  /** @throws InvalidItemError, TierUnavailableError of either tier, ClosedError, or the signal's reason */
  status(id: string, options?: CallOptions): Promise<Status> {
    return this.#call(() => statusOf(parseId(id), this.#parts.status), options);
  }

  /** @throws ClosedError, or the signal's reason */
  health(options?: CallOptions): Promise<Health> {
    return this.#call(() => readerHealth(this.#parts.health), options);
  }

  get size(): number {
    return this.#parts.l1.size;
  }

  get sizeBytes(): number {
    return this.#parts.l1.sizeBytes;
  }

  get isEmpty(): boolean {
    return this.#parts.l1.isEmpty;
  }

  get counters(): ReadCounters {
    return this.#parts.counters();
  }

  /** @throws InvalidItemError, TierUnavailableError of L3, SchemaMissingError, ClosedError, or the signal's reason */
  getByState(state: string, options?: PageOptions): Promise<Page<Item>> {
    return this.#call(() => this.#parts.queries.page(ofState(state), options), options);
  }

  /** @throws InvalidItemError at once; while iterating as `getByState` */
  scanState(state: string, options?: ScanOptions): Scan<Item> {
    this.#refuseWhenClosed();
    return this.#parts.queries.scan(ofState(state), options);
  }

  /** @throws as `getByState` */
  countByState(state: string, options?: CallOptions): Promise<number> {
    return this.#call(() => this.#parts.queries.count(ofState(state), options), options);
  }

  /** @throws as `getByState` */
  listStateIds(state: string, options?: PageOptions): Promise<Page<string>> {
    return this.#call(() => this.#parts.queries.ids(ofState(state), options), options);
  }

  /** @throws as `getByState` */
  getByPrefix(prefix: string, options?: PageOptions): Promise<Page<Item>> {
    return this.#call(() => this.#parts.queries.page(ofPrefix(prefix), options), options);
  }

  /** @throws as `scanState` */
  scanPrefix(prefix: string, options?: ScanOptions): Scan<Item> {
    this.#refuseWhenClosed();
    return this.#parts.queries.scan(ofPrefix(prefix), options);
  }

  /** @throws as `getByState` */
  countPrefix(prefix: string, options?: CallOptions): Promise<number> {
    return this.#call(() => this.#parts.queries.count(ofPrefix(prefix), options), options);
  }

  /** What L1 would give out now, for checks of coherence. */
  served(): Iterable<[id: string, held: Held]> {
    return this.#reads.served();
  }

  /** Whether every change up to a head of the feed has been delivered here. */
  hasReached(head: Pick<FeedPosition, 'epoch' | 'number'>): boolean {
    return this.#parts.tail.hasReached(head);
  }

  /** A write of this process has settled: what L1 holds of it is out of date from now on. */
  noteSettled(id: string, contentVersion: number, stateVersion: number): void {
    this.#parts.coherence.apply(id, contentVersion, stateVersion, true);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#parts.coherence.close();
    this.#parts.filter.close();
    await this.#parts.release();
  }

  async #call<T>(work: () => Promise<T>, options: CallOptions | undefined): Promise<T> {
    this.#refuseWhenClosed();
    const signal = options?.signal;
    signal?.throwIfAborted();
    return abortable(work(), signal);
  }

  #refuseWhenClosed(): void {
    if (this.#closing !== undefined) throw new ClosedError('The reader is closed. Open a new one.');
  }
}
