import { within } from '../abortable.ts';
import type { MembershipFilter } from '../filter/membership.ts';
import type { Keys } from '../keys.ts';
import type { Lanes } from '../lanes.ts';
import type { Logger } from '../log.ts';
import type { Redis } from '../redis/client.ts';
import { feedNumber, type FeedTail } from '../redis/feed.ts';
import type { FeedChanges } from '../schema/feed.ts';
import { applyChanges, type FilterSource } from '../tiers/filter-source.ts';
import type { ChangeListener } from './coherence.ts';
import type { AbsenceProof } from './tier-lookup.ts';

const RETRY_MS = 1000;

interface TrustedFilterOptions {
  /** Bytes above which there is no filter; 0 for never one. */
  readonly maxBytes: number;
  /** Milliseconds to wait for the feed's head before SQL is asked instead. */
  readonly timeoutMs: number;
}

/** What readers ask a filter, or those of all partitions together. */
export interface AbsenceFilter extends AbsenceProof {
  readonly loads: number;
  readonly size: { readonly ids: number; readonly sizeBytes: number };
  readonly isTrusted: boolean;
  lacks(id: string): boolean;
  /** An item of this id has settled. Its writer has been told that already, and the feed tells it here in a moment. */
  note(id: string): void;
  /** Asks for the feed's head. The function returned tells of each of these ids whether it has no row, as of then. */
  proof(ids: readonly string[]): Promise<(id: string) => boolean>;
  close(): void;
}

/**
 * The membership filter of one partition in this process. It knows when its "no" can be trusted (I7).
 *
 * - **none**: no filter yet. One is being loaded from the stored snapshot and the feed since, or from the rows. Changes
 *   that the feed tells meanwhile are added to it, so it is complete as soon as loading ends.
 * - **behind**: the filter holds every change that the tail has delivered. It is right about all that had settled by then.
 * - **at the head**: the same, and the head of the feed, asked for now, is no further. Only then its "no" is a proof.
 *
 * A gap in the feed drops the filter. Ids are never removed. When a fifth of them is dead, another filter is loaded beside it.
 */
export class TrustedFilter implements ChangeListener, AbsenceFilter {
  readonly #source: FilterSource;
  readonly #tail: Pick<FeedTail, 'live' | 'hasReached'>;
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #options: TrustedFilterOptions;
  readonly #log: Logger;
  #filter: MembershipFilter | undefined;
  #loading: { filter: MembershipFilter | undefined } | undefined;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;
  #loads = 0;

  constructor(
    source: FilterSource,
    tail: Pick<FeedTail, 'live' | 'hasReached'>,
    redis: Redis,
    keys: Keys,
    options: TrustedFilterOptions,
    log: Logger,
  ) {
    this.#source = source;
    this.#tail = tail;
    this.#redis = redis;
    this.#keys = keys;
    this.#options = options;
    this.#log = log;
  }

  get loads(): number {
    return this.#loads;
  }

  /** Ids held and the memory they take; 0 while there is no filter. */
  get size(): { readonly ids: number; readonly sizeBytes: number } {
    return { ids: this.#filter?.count ?? 0, sizeBytes: this.#filter?.byteLength ?? 0 };
  }

  /**
   * Whether the filter holds every change that the tail has delivered, and the tail is connected. What it lacks is not proven yet: see
   * `proof`.
   */
  get isTrusted(): boolean {
    return this.#filter !== undefined && this.#tail.live;
  }

  /** Whether no item of this id had settled by the newest delivered change. */
  lacks(id: string): boolean {
    return this.#filter !== undefined && this.#tail.live && !this.#filter.has(id);
  }

  note(id: string): void {
    this.#loading?.filter?.add(id);
    this.#filter?.add(id);
  }

  /** Those of the ids that have no row now: the filter lacks them, and it has seen all up to the head of the feed. */
  async provenAbsent(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const candidates = this.isTrusted ? ids.filter((id) => this.lacks(id)) : [];
    if (candidates.length === 0) return new Set();
    const isAbsent = await this.proof();
    return new Set(candidates.filter(isAbsent));
  }

  async proof(): Promise<(id: string) => boolean> {
    if (!this.isTrusted) return () => false;
    const atHead = await this.askHead();
    return (id) => atHead() && this.lacks(id);
  }

  /**
   * Asks for the feed's head. The function returned says whether the filter holds all changes up to it; false when the head
   * could not be asked for. It is a function because the filter may be dropped, or go on, while its caller waits for L2.
   */
  async askHead(): Promise<() => boolean> {
    try {
      const head = await within(this.#options.timeoutMs, feedNumber(this.#redis, this.#keys));
      return () => this.#filter !== undefined && this.#tail.hasReached(head);
    } catch (error) {
      this.#log.debug({ err: error }, 'feed head could not be asked for');
      return () => false;
    }
  }

  onChanges(changes: FeedChanges): void {
    if (this.#loading?.filter !== undefined) applyChanges(this.#loading.filter, changes);
    if (this.#filter === undefined) return;
    applyChanges(this.#filter, changes);
    if (this.#filter.byteLength > this.#options.maxBytes) {
      this.#log.warn(
        { maxBytes: this.#options.maxBytes },
        'membership filter outgrew its limit; absence costs SQL again',
      );
      this.#filter = undefined;
    } else if (this.#filter.needsRebuild && this.#loading === undefined) {
      this.#load();
    }
  }

  onGap(): void {
    this.#filter = undefined;
    this.#loading = undefined;
    this.#load();
  }

  onLive(): void {
    if (this.#filter === undefined && this.#loading === undefined) this.#load();
  }

  close(): void {
    this.#closed = true;
    this.#filter = undefined;
    this.#loading = undefined;
    clearTimeout(this.#retry);
  }

  #load(): void {
    clearTimeout(this.#retry);
    if (this.#closed || this.#options.maxBytes === 0) return;
    const attempt = { filter: undefined as MembershipFilter | undefined };
    this.#loading = attempt;
    void this.#attempt(attempt);
  }

  async #attempt(attempt: { filter: MembershipFilter | undefined }): Promise<void> {
    let complete = false;
    let failure: unknown;
    try {
      complete = await this.#fill(attempt);
    } catch (error) {
      failure = error;
    }
    // A gap in the feed has begun another attempt meanwhile.
    if (this.#loading !== attempt) return;
    this.#loading = undefined;
    if (complete) {
      this.#filter = attempt.filter;
      this.#loads++;
    } else if (failure !== undefined) {
      this.#log.warn({ err: failure }, 'membership filter could not be loaded, trying again');
      this.#retry = setTimeout(() => this.#load(), RETRY_MS);
    }
  }

  /** @returns whether the filter holds every id that was live when this began, and all that the feed told since. */
  async #fill(attempt: { filter: MembershipFilter | undefined }): Promise<boolean> {
    const current = () => this.#loading === attempt;
    const stored = this.#filter === undefined ? await this.#source.snapshot() : undefined;
    if (stored !== undefined && current()) {
      // From now on the changes that the tail delivers are added too, so the replay need only reach this moment.
      attempt.filter = stored.filter;
      const reached = await this.#source.catchUp(stored.filter, stored.position);
      if (reached !== undefined && !stored.filter.needsRebuild) return this.#fits(stored.filter);
    }
    if (!current()) return false;
    attempt.filter = (await this.#source.begin(this.#filter)).filter;
    const filter = attempt.filter;
    return this.#source.addLiveIds(filter, () => current() && this.#fits(filter));
  }

  #fits(filter: MembershipFilter): boolean {
    return filter.byteLength <= this.#options.maxBytes;
  }
}

/** The membership filters of all lanes, one a partition. Each is trusted for its own ids. */
export class LaneFilters implements AbsenceFilter {
  readonly #lanes: Lanes;
  readonly #filters: readonly TrustedFilter[];

  constructor(lanes: Lanes, filters: readonly TrustedFilter[]) {
    this.#lanes = lanes;
    this.#filters = filters;
  }

  get loads(): number {
    return this.#filters.reduce((sum, { loads }) => sum + loads, 0);
  }

  get size(): { readonly ids: number; readonly sizeBytes: number } {
    const sizes = this.#filters.map(({ size }) => size);
    return {
      ids: sizes.reduce((sum, { ids }) => sum + ids, 0),
      sizeBytes: sizes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    };
  }

  /** Whether that of every partition is. */
  get isTrusted(): boolean {
    return this.#filters.every(({ isTrusted }) => isTrusted);
  }

  lacks(id: string): boolean {
    return this.#of(id).lacks(id);
  }

  note(id: string): void {
    this.#of(id).note(id);
  }

  async proof(ids: readonly string[]): Promise<(id: string) => boolean> {
    const filters = [...new Set(ids.map((id) => this.#of(id)))];
    const proofs = await Promise.all(filters.map((filter) => filter.proof()));
    const byFilter = new Map(filters.map((filter, i) => [filter, proofs[i] as (id: string) => boolean]));
    return (id) => byFilter.get(this.#of(id))?.(id) === true;
  }

  async provenAbsent(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const candidates = ids.filter((id) => this.lacks(id));
    if (candidates.length === 0) return new Set();
    const isAbsent = await this.proof(candidates);
    return new Set(candidates.filter(isAbsent));
  }

  close(): void {
    for (const filter of this.#filters) filter.close();
  }

  #of(id: string): TrustedFilter {
    return this.#filters[this.#lanes.of(id)] as TrustedFilter;
  }
}
