/**
 * Every error Tierline throws on purpose. Each has a class, a stable `code` to branch on, the `cause` where
 * there is one, and a message that says what the caller may do.
 */
export abstract class TierlineError extends Error {
  abstract readonly code: string;
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An option or environment variable cannot be used. Thrown while opening; fix the configuration. */
export class ConfigError extends TierlineError {
  readonly code = 'ERR_CONFIG';
}

/** An item, id, state or option given to a call breaks a limit. Nothing was queued; fix the argument. */
export class InvalidItemError extends TierlineError {
  readonly code = 'ERR_INVALID_ITEM';
  readonly field: string;
  readonly reason: string;
  constructor(field: string, reason: string, options?: { cause?: unknown }) {
    super(`${field}: ${reason}`, options);
    this.field = field;
    this.reason = reason;
  }
}

/** An atomic call was refused whole because of other items in it. Nothing was queued; fix those and call again. */
export class AtomicRefusedError extends TierlineError {
  readonly code = 'ERR_ATOMIC_REFUSED';
}

/**
 * The queue's Redis did not take the write in time. `accepted` tells what is known of it; making the same call again is safe
 * either way, for it takes a newer version.
 */
export class QueueUnavailableError extends TierlineError {
  readonly code = 'ERR_QUEUE_UNAVAILABLE';
  /**
   * `false`: nothing was queued and nothing of the call will be applied. `'unknown'`: Redis may have it all the same, and could
   * not be asked. Then it is applied like any accepted write, or not at all; read the item to know which.
   */
  readonly accepted: false | 'unknown';
  constructor(message: string, options: { cause?: unknown; accepted?: false | 'unknown' } = {}) {
    super(message, options);
    this.accepted = options.accepted ?? false;
  }
}

/** What is full: items or bytes that wait, or the memory of the queue's Redis as a share of its `maxmemory`. */
export interface ReachedLimit {
  readonly of: 'items' | 'bytes' | 'memory';
  /** The configured limit. */
  readonly max: number;
  readonly measured: number;
}

/**
 * The queue is full, so nothing of the call was queued. Call again after `retryAfterMs`; when it goes on, the deployment needs
 * more drain workers, or higher limits and a Redis that holds them.
 */
export class BackpressureError extends TierlineError {
  readonly code = 'ERR_BACKPRESSURE';
  /** Milliseconds, with jitter in them: callers that were refused together do not come back together. */
  readonly retryAfterMs: number;
  readonly limit: ReachedLimit;
  constructor(limit: ReachedLimit, retryAfterMs: number, options?: { cause?: unknown }) {
    super(
      `The queue is full: ${limitText(limit)}. Nothing was queued; try again in ${retryAfterMs} ms.`,
      options,
    );
    this.limit = limit;
    this.retryAfterMs = retryAfterMs;
  }
}

function limitText({ of, max, measured }: ReachedLimit): string {
  if (of !== 'memory') return `${measured} ${of} wait, and ${max} may`;
  return `Redis uses ${(measured * 100).toFixed(0)} % of its maxmemory, and ${(max * 100).toFixed(0)} % may be used`;
}

/** The queue's Redis came back without its data. Whether earlier writes were applied is unknown: read, then write again. */
export class QueueLostError extends TierlineError {
  readonly code = 'ERR_QUEUE_LOST';
}

/**
 * No worker ran a queued range delete, so nothing was deleted: it stands in `dead_letters`. It came too late (call again), or the
 * workers are older than the producer (upgrade them and call again).
 */
export class JobRefusedError extends TierlineError {
  readonly code = 'ERR_JOB_REFUSED';
}

/** A tier that alone could answer cannot be asked. Absence was NOT established; try again later. */
export class TierUnavailableError extends TierlineError {
  readonly code = 'ERR_TIER_UNAVAILABLE';
  readonly tier: 'l2' | 'l3';
  /** Name of the shard that does not answer, when the deployment has several. */
  readonly shard: string | undefined;
  constructor(tier: 'l2' | 'l3', cause: unknown, shard?: string) {
    const backend = tier === 'l2' ? 'Redis' : 'Postgres';
    const place = shard === undefined ? tier : `${tier}, shard ${shard}`;
    super(
      `${backend} (${place}) cannot be asked: ${messageOf(cause).replace(/\.$/, '')}. Nothing is known about the ids; try again.`,
      {
        cause,
      },
    );
    this.tier = tier;
    this.shard = shard;
  }
}

/** `settled()` ran out of its own time. The write is still accepted and goes on; wait again or ask `status`. */
export class SettleTimeoutError extends TierlineError {
  readonly code = 'ERR_SETTLE_TIMEOUT';
}

/** The object was closed before or during the call. Open a new one. */
export class ClosedError extends TierlineError {
  readonly code = 'ERR_CLOSED';
}

/** A server is too old or set up so that accepted writes could be lost. The message holds the fix. */
export class UnsafeServerError extends TierlineError {
  readonly code = 'ERR_UNSAFE_SERVER';
}

/** The database lacks Tierline's tables. Run `tierline migrate`. */
export class SchemaMissingError extends TierlineError {
  readonly code = 'ERR_SCHEMA_MISSING';
}

/**
 * The process was given another `TIERLINE_MERKLE_KEY` than the one the store's digests were computed with. Thrown while
 * opening; start it with the store's key.
 */
export class MerkleKeyError extends TierlineError {
  readonly code = 'ERR_MERKLE_KEY';
}

/**
 * The process goes by another number of partitions than the deployment has, or Redis and Postgres know different numbers. Nothing
 * was queued or read; the message holds the fix.
 */
export class PartitionsError extends TierlineError {
  readonly code = 'ERR_PARTITIONS';
}

/**
 * The shards of the configuration are not those of the deployment: names, databases or the map of partitions do not fit. Nothing
 * was written or read; the message holds the fix.
 */
export class ShardsError extends TierlineError {
  readonly code = 'ERR_SHARDS';
}

/**
 * A shard refused work on a partition that it has not, or that is being moved. Nothing was written. Tierline looks at the map and
 * tries again at the right shard; a caller sees it as the cause of a `TierUnavailableError` when that took too long.
 */
export class PartitionMovedError extends TierlineError {
  readonly code = 'ERR_PARTITION_MOVED';
  readonly partition: number;
  constructor(partition: number, shard: string) {
    super(
      `Partition ${partition} is not at shard ${shard} now: it has moved, or is being moved. Nothing was done; try again.`,
    );
    this.partition = partition;
  }
}

/**
 * A partition cannot be moved as asked: it is there already, another move is under way, there is no such shard, or the copy differs
 * from the rows. Nothing was switched; the message holds the fix.
 */
export class MoveError extends TierlineError {
  readonly code = 'ERR_MOVE';
}

/**
 * Two deployments cannot be compared or repaired: they have other digest keys, schemes or protocols, or are the same one, or were
 * apart for so long that deleted items could come back. Nothing was moved; the message holds the fix.
 */
export class PeerRefusedError extends TierlineError {
  readonly code = 'ERR_PEER_REFUSED';
}

/**
 * Another deployment's gateway cannot be reached, or cannot do its work now. What was moved until then stays; try again later: a
 * repair finds what still differs.
 */
export class PeerUnavailableError extends TierlineError {
  readonly code = 'ERR_PEER_UNAVAILABLE';
  constructor(url: string, reason: string, options?: { cause?: unknown }) {
    super(`The peer at ${url} cannot be asked: ${reason.replace(/\.$/, '')}. Try again later.`, options);
  }
}

/** A stored value cannot be read or does not match its hash. Restore the row, or submit the item again. */
export class CorruptItemError extends TierlineError {
  readonly code = 'ERR_CORRUPT_ITEM';
}

/**
 * The gateway does not know the token of a request, or the token does not allow it. Nothing was done; `reason` tells which token
 * is needed: any (`token`), one with another scope (`scope`), or one that is not confined to another prefix (`prefix`).
 */
export class AccessDeniedError extends TierlineError {
  readonly code = 'ERR_ACCESS_DENIED';
  readonly reason: 'token' | 'scope' | 'prefix';
  constructor(reason: 'token' | 'scope' | 'prefix', message: string) {
    super(message);
    this.reason = reason;
  }
}

/** The gateway was asked more often than it answers one token or one address. Nothing was done; ask again after `retryAfterMs`. */
export class TooManyRequestsError extends TierlineError {
  readonly code = 'ERR_TOO_MANY_REQUESTS';
  readonly retryAfterMs: number;
  constructor(retryAfterMs: number) {
    super(`Too many requests. Nothing was done; try again in ${retryAfterMs} ms.`);
    this.retryAfterMs = retryAfterMs;
  }
}

/** A request body is larger than the gateway takes. What came before it was told as accepted stays; send less at a time. */
export class BodyTooLargeError extends TierlineError {
  readonly code = 'ERR_BODY_TOO_LARGE';
}

/** A request body did not arrive in time. What came before it was told as accepted stays; send the rest faster. */
export class BodyTimeoutError extends TierlineError {
  readonly code = 'ERR_BODY_TIMEOUT';
}

/**
 * The change feed no longer holds what came after the given place, or Redis lost it. Read the items again, and follow the changes
 * from now on.
 */
export class ChangesGoneError extends TierlineError {
  readonly code = 'ERR_CHANGES_GONE';
}

/** @internal */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map(messageOf).join('; ');
  }
  return error instanceof Error ? error.message : String(error);
}

/** Limit of a reason in `dead_letters`, on the feed, in logs and on pages. */
const MAX_REASON_BYTES = 1024;

/**
 * The reason as Postgres can store it, cut to 1 KB.
 * @internal
 */
export function boundedReason(reason: string): string {
  // One more than is kept, so that the bytes tell whether something was cut off.
  const head = reason.slice(0, MAX_REASON_BYTES + 1).replaceAll('\0', '\\0');
  const bytes = Buffer.from(head);
  if (bytes.length <= MAX_REASON_BYTES) return bytes.toString();
  const cut = bytes.subarray(0, MAX_REASON_BYTES - 3).toString();
  // The cut may have split a character.
  return `${cut.replace(/\uFFFD+$/, '')}…`;
}
