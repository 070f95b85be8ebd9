import { within } from '../abortable.ts';
import type { CallGate } from '../call-gate.ts';
import { InvalidItemError, messageOf } from '../errors.ts';
import { pingPostgres, readL3 } from '../postgres/pool.ts';
import { ofPrefix, ofState } from '../postgres/read-items.ts';
import type { Shard, Shards } from '../postgres/shards.ts';
import type { Redis } from '../redis/client.ts';
import { pingRedis } from '../redis/connect.ts';
import type { FeedTail } from '../redis/feed.ts';
import type { FeedPosition } from '../schema/feed.ts';
import { parseId } from '../schema/item.ts';
import { callOptionsOf, getOptionsOf, pageOptionsOf, scanOptionsOf } from '../schema/options.ts';
import type { MemoryTier } from '../tiers/memory.ts';
import { type ReplicaServer, replicaFix } from '../tiers/replica-server.ts';
import type { CallOptions, Page, PageOptions } from '../types/call.ts';
import type { BackendHealth, Health } from '../types/health.ts';
import type { Merkle } from '../types/merkle.ts';
import type {
  GetOptions,
  Item,
  Lookup,
  ReadCounters,
  Reader,
  Scan,
  ScanOptions,
  Status,
} from '../types/read.ts';
import type { LaneCoherence } from './coherence.ts';
import { type ExistenceCheck, type StatusParts, statusOf } from './existence.ts';
import type { ItemReads } from './item-reads.ts';
import type { L1Entry } from './l1-entry.ts';
import type { OwnWrite, OwnWriteView } from './own-writes.ts';
import type { Queries } from './queries.ts';
import type { AbsenceFilter } from './trusted-filter.ts';
import type { VerifiedReads } from './verified-reads.ts';

export interface ReaderParts {
  readonly gate: CallGate;
  readonly l1: MemoryTier<L1Entry>;
  readonly reads: ItemReads;
  readonly verified: VerifiedReads;
  readonly coherence: LaneCoherence;
  /** By partition. */
  readonly tails: readonly Pick<FeedTail, 'hasReached'>[];
  readonly filter: AbsenceFilter;
  readonly existence: ExistenceCheck;
  readonly ownWrites: OwnWriteView;
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
  readonly #gate: CallGate;
  #closing: Promise<void> | undefined;

  constructor(parts: ReaderParts) {
    this.#parts = parts;
    this.#reads = parts.reads;
    this.#gate = parts.gate;
    this.merkle = parts.merkle;
  }

  /** @throws InvalidItemError, TierUnavailableError of L3, CorruptItemError (only with `verify`), ClosedError, or the signal's reason */
  get(id: string, options?: GetOptions): Promise<Item | undefined> {
    if (options === undefined && !this.#gate.isClosed) return this.#reads.get(id);
    return this.#gate.call(getOptionsOf, options, ({ verify }) =>
      verify ? this.#parts.verified.get(id) : this.#reads.get(id),
    );
  }

  /** @throws as `get` */
  lookup(id: string, options?: CallOptions): Promise<Lookup> {
    return this.#gate.call(callOptionsOf, options, () => this.#reads.lookup(id));
  }

  /** @throws InvalidItemError */
  peek(id: string): Item | undefined {
    return this.#reads.peek(id);
  }

  /** @throws as `get`; one id that cannot be read fails the call */
  getMany(ids: readonly string[], options?: CallOptions): Promise<(Item | undefined)[]> {
    return this.#gate.call(callOptionsOf, options, () => {
      if (!Array.isArray(ids)) throw new InvalidItemError('ids', 'must be an array');
      return this.#reads.getMany(ids);
    });
  }

  /** @throws InvalidItemError, TierUnavailableError of L3 when it alone could tell, ClosedError, or the signal's reason */
  contains(id: string, options?: CallOptions): Promise<boolean> {
    return this.#gate.call(callOptionsOf, options, () => {
      const isOwn = this.#parts.ownWrites.get(parseId(id)) !== undefined;
      return isOwn
        ? this.#reads.get(id).then((item) => item !== undefined)
        : this.#parts.existence.exists(id);
    });
  }

  /** @throws as `peek` */
  mightExist(id: string): boolean {
    return !this.definitelyMissing(id);
  }

  /** @throws as `peek` */
  definitelyMissing(id: string): boolean {
    return this.#parts.filter.lacks(parseId(id)) && this.#parts.ownWrites.get(id) === undefined;
  }

  /** @throws as `get` */
  isCurrent(id: string, contentHash: string, options?: CallOptions): Promise<boolean> {
    return this.#gate.call(callOptionsOf, options, async () => {
      // An absent item has no hash either: undefined would be current.
      if (typeof contentHash !== 'string') throw new InvalidItemError('contentHash', 'must be a string');
      return (await this.#reads.get(id))?.contentHash === contentHash;
    });
  }

  /** @throws InvalidItemError, TierUnavailableError of either tier, ClosedError, or the signal's reason */
  status(id: string, options?: CallOptions): Promise<Status> {
    return this.#gate.call(callOptionsOf, options, () => statusOf(parseId(id), this.#parts.status));
  }

  /** @throws ClosedError, or the signal's reason */
  health(options?: CallOptions): Promise<Health> {
    return this.#gate.call(callOptionsOf, options, () => readerHealth(this.#parts.health));
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
    return this.#gate.call(pageOptionsOf, options, (read) => this.#parts.queries.page(ofState(state), read));
  }

  /** @throws InvalidItemError at once; while iterating as `getByState` */
  scanState(state: string, options?: ScanOptions): Scan<Item> {
    return this.#parts.queries.scan(ofState(state), this.#gate.admit(scanOptionsOf, options));
  }

  /** @throws as `getByState` */
  countByState(state: string, options?: CallOptions): Promise<number> {
    return this.#gate.call(callOptionsOf, options, () => this.#parts.queries.count(ofState(state)));
  }

  /** @throws as `getByState` */
  listStateIds(state: string, options?: PageOptions): Promise<Page<string>> {
    return this.#gate.call(pageOptionsOf, options, (read) => this.#parts.queries.ids(ofState(state), read));
  }

  /** @throws as `getByState` */
  getByPrefix(prefix: string, options?: PageOptions): Promise<Page<Item>> {
    return this.#gate.call(pageOptionsOf, options, (read) =>
      this.#parts.queries.page(ofPrefix(prefix), read),
    );
  }

  /** @throws as `scanState` */
  scanPrefix(prefix: string, options?: ScanOptions): Scan<Item> {
    return this.#parts.queries.scan(ofPrefix(prefix), this.#gate.admit(scanOptionsOf, options));
  }

  /** @throws as `getByState` */
  countPrefix(prefix: string, options?: CallOptions): Promise<number> {
    return this.#gate.call(callOptionsOf, options, () => this.#parts.queries.count(ofPrefix(prefix)));
  }

  /** What L1 would give out now, for checks of coherence. */
  served(): Iterable<[id: string, entry: L1Entry]> {
    return this.#reads.served();
  }

  /** Whether every change up to a head of a partition's feed has been delivered here. */
  hasReached(head: Pick<FeedPosition, 'epoch' | 'number'>, partition = 0): boolean {
    return this.#parts.tails[partition]?.hasReached(head) === true;
  }

  /** A write of this process has settled: what L1 holds of it is out of date from now on. */
  noteSettled(id: string, { kind, contentVersion, stateVersion }: OwnWrite): void {
    this.#parts.coherence.ownSettled(id, contentVersion, stateVersion);
    if (contentVersion > 0 && kind !== 'deleted') this.#parts.filter.note(id);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#gate.close();
    this.#parts.coherence.close();
    this.#parts.filter.close();
    await this.#parts.release();
  }
}

interface HealthParts {
  readonly queue: Redis;
  /** The same server as the queue's, when there is one. */
  readonly cache: Redis;
  readonly shards: Shards;
  readonly replicas: { readonly servers: readonly ReplicaServer[] } | undefined;
  /** Milliseconds a backend may take. */
  readonly timeoutMs: number;
  readonly feed: { readonly live: boolean };
  readonly filter: { readonly isTrusted: boolean };
}

/** Asks every backend once, all at the same time. Never rejects: it says which of them do not answer. */
async function readerHealth(parts: HealthParts): Promise<Health> {
  const { queue, cache, shards, timeoutMs, feed, filter } = parts;
  const [queueHealth, cacheHealth, postgres, replicas] = await Promise.all([
    asked(() => pingRedis(queue), timeoutMs),
    asked(() => pingRedis(cache), timeoutMs),
    asked(() => shards.each((shard) => pingShard(shards, shard, timeoutMs)), timeoutMs),
    Promise.all((parts.replicas?.servers ?? []).map((server) => replicaHealth(server, timeoutMs))),
  ]);
  const backends = [queueHealth, cacheHealth, postgres];
  const isWhole = feed.live && [...backends, ...replicas].every(({ ok }) => ok);
  const answersReads = postgres.ok || cacheHealth.ok;
  return {
    status: isWhole ? 'ok' : answersReads ? 'degraded' : 'down',
    queue: queueHealth,
    cache: cacheHealth,
    postgres,
    replicas,
    feed: { live: feed.live },
    filter: { trusted: filter.isTrusted },
  };
}

/** With several shards the error names the one that is away. */
function pingShard(shards: Shards, { pool }: Shard, timeoutMs: number): Promise<void> {
  const ping = () => pingPostgres(pool, timeoutMs);
  return shards.isOne ? ping() : readL3(ping);
}

async function replicaHealth(server: ReplicaServer, timeoutMs: number): Promise<Health['replicas'][number]> {
  const answer = await asked(() => server.look(), timeoutMs);
  const { figures } = server;
  if (!answer.ok || figures.state === 'used' || figures.state === 'behind') return { ...answer, ...figures };
  return { ok: false, error: replicaFix(figures.state), ...figures };
}

async function asked(ask: () => Promise<unknown>, timeoutMs: number): Promise<BackendHealth> {
  const startedAt = performance.now();
  try {
    await within(timeoutMs, ask());
    return { ok: true, latencyMs: performance.now() - startedAt };
  } catch (error) {
    return { ok: false, error: messageOf(error) };
  }
}
