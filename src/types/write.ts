import type { TierlineError } from '../errors.ts';
import type { OutcomeStatus } from '../schema/feed.ts';
import type { CallOptions, JsonValue, WaitOptions } from './call.ts';

/**
 * Where a write goes: L2 and L3, L2 only (`cache`, gone with its TTL or by eviction), or L3 only (`durable`: until the next write of
 * its content no copy goes into L2, by a `setState` or a read neither).
 */
export type Tiers = 'all' | 'cache' | 'durable';

export interface NewItem {
  /** 1 to 255 UTF-8 bytes, any text without NUL. */
  readonly id: string;
  readonly content: JsonValue | Uint8Array;
  /**
   * 1 to 64 UTF-8 bytes. Left out: the item keeps the state it has (`default` at first). A write with `tiers: 'cache'` looks at no
   * row, so without a state its item is in `default`, whatever the row below it has.
   */
  readonly state?: string;
  /** W3C trace context `traceparent` of the request that wrote it; kept beside the row. */
  readonly traceParent?: string;
}

export interface SubmitOptions {
  /** @default 'all' */
  readonly tiers?: Tiers;
  /**
   * Bounds the life of the L2 copy that this write makes, in milliseconds (1 or more). A `setState` leaves the life as it is. L3 keeps
   * the item: a read after the copy has ended makes another one, which lives for `backfillTtlMs`.
   */
  readonly ttlMs?: number;
  /** State of every item that names none itself. */
  readonly state?: string;
}

export interface Outcome {
  /**
   * `applied`: this write shaped the item. `superseded`: a newer one had already won. `missing`: there was no item to
   * change. `dead`: it was refused (Postgres did not take the data, or no worker could run the job) and stands in
   * `dead_letters` with `reason`.
   */
  readonly status: OutcomeStatus;
  /** The item's version once settled (for `dead`: the refused write's own stamp). */
  readonly version: number;
  readonly reason?: string;
}

export interface Ticket {
  readonly id: string;
  readonly version: number;
  settled(options?: WaitOptions): Promise<Outcome>;
}

export interface RangeOutcome {
  /**
   * How many items were live and are deleted now. An item that was written again after the call, and before its row was reached,
   * lives on with the later write and is not counted.
   */
  readonly deleted: number;
  /** How many rows Postgres refused to change: they stay as they were, and stand in `dead_letters` as deletes of their ids. */
  readonly dead: number;
}

export interface RangeTicket {
  readonly version: number;
  /** @throws JobRefusedError when Postgres refused the range delete as a whole */
  settled(options?: WaitOptions): Promise<RangeOutcome>;
}

export interface Rejection {
  readonly index: number;
  readonly id: string;
  readonly error: TierlineError;
}

export interface BatchOutcome {
  readonly total: number;
  /** Settled as `applied` or `superseded`: a newer write of the same id winning is not a failure. */
  readonly succeeded: number;
  /** Settled as `missing` or `dead`, plus those rejected at the call. */
  readonly failed: number;
  /** One an accepted item, in input order. */
  readonly outcomes: readonly Outcome[];
}

export interface BatchTicket {
  readonly total: number;
  readonly accepted: number;
  readonly rejected: readonly Rejection[];
  readonly tickets: readonly Ticket[];
  settled(options?: WaitOptions): Promise<BatchOutcome>;
}

/** How full the queue is, as Redis said `ageMs` ago: at most a second while anything waits and Redis answers. */
export interface Pressure {
  /**
   * `normal`. `warn`, from a ratio of 0.7: submits are delayed. `critical`, from 1: submits are refused, and from 1.2 deletes and
   * new states too. Also `critical` while Redis does not answer.
   */
  readonly level: 'normal' | 'warn' | 'critical';
  /** The largest of items, bytes and memory against their limits; 1 is full. */
  readonly ratio: number;
  /** Distinct ids whose newest write has not settled. */
  readonly waitingItems: number;
  /** What unsettled writes take in the queue. */
  readonly waitingBytes: number;
  /** Memory used by the queue's Redis as a share of its `maxmemory`; 0 when it has none. */
  readonly memoryShare: number;
  /** Age of the oldest unsettled chunk in milliseconds. */
  readonly oldestMs: number;
  /** How long ago Redis said so, in milliseconds. */
  readonly ageMs: number;
}

export interface Producer extends AsyncDisposable {
  submit(item: NewItem, options?: SubmitOptions & CallOptions): Promise<Ticket>;
  submitMany(
    items: readonly NewItem[],
    options?: SubmitOptions & CallOptions & { readonly atomic?: boolean },
  ): Promise<BatchTicket>;
  delete(id: string, options?: CallOptions): Promise<Ticket>;
  deleteMany(
    ids: readonly string[],
    options?: CallOptions & { readonly atomic?: boolean },
  ): Promise<BatchTicket>;
  /** Outcome `missing` when the id has no live item. */
  setState(id: string, state: string, options?: CallOptions): Promise<Ticket>;
  /** Deletes every item that has this state as of now; writes submitted later survive. */
  deleteByState(state: string, options?: CallOptions): Promise<RangeTicket>;
  /** Deletes every item whose id begins with this text as of now; writes submitted later survive. '' is refused. */
  deletePrefix(prefix: string, options?: CallOptions): Promise<RangeTicket>;
  /** Waits until everything this process submitted before has settled. */
  flush(options?: WaitOptions): Promise<void>;
  pressure(): Pressure;
  close(): Promise<void>;
}
