import pLimit, { type LimitFunction } from 'p-limit';
import type { Config } from '../config.ts';
import { TierUnavailableError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { StoredItem } from '../schema/stored-item.ts';
import type { CopyTier } from '../tiers/copy-tier.ts';
import type { PostgresTier } from '../tiers/postgres.ts';
import type { ReplicaAnswer, Replicas } from '../tiers/replicas.ts';
import type { Look } from '../tiers/tier.ts';

/** Statements that Postgres gets for one chunk: 1,000 ids by four statements at once took a quarter less time than by two. */
const L3_STATEMENTS = 2;

interface Asked {
  readonly id: string;
}

/** What a tier answered to one request: an answer for each question, in their order. */
export interface TierAnswers<A extends Asked> {
  readonly asked: readonly A[];
  /** Undefined when the tier could not be asked; `error` says why. */
  readonly answers: readonly (StoredItem | undefined)[] | undefined;
  readonly error?: unknown;
}

export interface RowAnswers<A extends Asked> extends TierAnswers<A> {
  /** When the rows were read, for `copyToL2`; undefined when L2 takes nothing at the moment. */
  readonly look: Look | undefined;
}

/**
 * What a replica answered to one request, an answer for each question, in their order. Unlike in `TierAnswers`, an undefined answer
 * means that L3 must be asked; `row: undefined` in an answer means that there is no row.
 */
export interface ReplicaAnswers<A extends Asked> {
  readonly asked: readonly A[];
  readonly answers: readonly ReplicaAnswer<StoredItem>[];
}

/** Tells which of these ids have no row, without SQL; says nothing of the others. */
export interface AbsenceProof {
  provenAbsent(ids: readonly string[]): Promise<ReadonlySet<string>>;
}

/** Ids, by what each tier answered. */
export interface LookupCounts {
  readonly l2Hits: number;
  readonly l2Misses: number;
  readonly l3Hits: number;
  readonly l3Misses: number;
}

/**
 * Asks L2, the filter, replicas and L3, each for many ids at once. The requests of a tier share one limit, which goes around
 * requests and never around ids: p-limit costs a few µs a task, an id in an MGET less than 2.
 */
export class TierLookup {
  readonly #l2: CopyTier;
  readonly #l3: PostgresTier;
  /** The `TrustedFilter` of the only partition, or the `LaneFilters` of several. */
  readonly #absence: AbsenceProof;
  readonly #replicas: Replicas | undefined;
  readonly #l2Limit: LimitFunction;
  readonly #l3Limit: LimitFunction;
  readonly #replicaLimit: LimitFunction;
  readonly #chunkItems: number;
  readonly #log: Logger;
  readonly #counts = { l2Hits: 0, l2Misses: 0, l3Hits: 0, l3Misses: 0 };

  constructor(
    l2: CopyTier,
    l3: PostgresTier,
    absence: AbsenceProof,
    config: Config,
    log: Logger,
    replicas?: Replicas,
  ) {
    this.#l2 = l2;
    this.#l3 = l3;
    this.#absence = absence;
    this.#replicas = replicas;
    this.#l2Limit = pLimit(config.readConcurrency);
    this.#l3Limit = pLimit(config.readConcurrency);
    this.#replicaLimit = pLimit(config.readConcurrency * Math.max(1, config.replicas.length));
    this.#chunkItems = config.readChunkItems;
    this.#log = log;
  }

  get counts(): LookupCounts {
    return this.#counts;
  }

  /** A promise a request. None rejects because L2 is away: it only saves time. */
  fromL2<A extends Asked>(asked: readonly A[]): Promise<TierAnswers<A>>[] {
    return partsOf(asked, this.#chunkItems).map((part) => this.#l2Limit(() => this.#copiesOf(part)));
  }

  /** The ids that the filter proves to have no row. */
  provenAbsent(asked: readonly Asked[]): Promise<ReadonlySet<string>> {
    return this.#absence.provenAbsent(idsOf(asked));
  }

  /** A promise a statement; none when there are no replicas. Their rows are no fresh look: they must not go to L2. */
  fromReplicas<A extends Asked>(asked: readonly A[]): Promise<ReplicaAnswers<A>>[] {
    const replicas = this.#replicas;
    if (replicas === undefined) return [];
    return partsOf(asked, this.#statementItems).map((part) =>
      this.#replicaLimit(async () => ({ asked: part, answers: await replicas.getMany(idsOf(part)) })),
    );
  }

  /** A promise a statement. None rejects because L3 is away. */
  fromL3<A extends Asked>(asked: readonly A[]): Promise<RowAnswers<A>>[] {
    return partsOf(asked, this.#statementItems).map((part) => this.#l3Limit(() => this.#rowsOf(part)));
  }

  /** Writes rows of one answer of L3 into L2, beside the reads: those that L2 did not have, and those of which its copy was too old. */
  copyToL2(missing: readonly StoredItem[], outdated: readonly StoredItem[], look: Look | undefined): void {
    if (look === undefined) return;
    if (missing.length > 0) this.#l2.backfill(missing, look);
    if (outdated.length > 0) void this.#l2.repair(outdated, look);
  }

  get #statementItems(): number {
    return Math.ceil(this.#chunkItems / L3_STATEMENTS);
  }

  async #copiesOf<A extends Asked>(asked: readonly A[]): Promise<TierAnswers<A>> {
    try {
      const answers = await this.#l2.getMany(idsOf(asked));
      for (const answer of answers) this.#counts[answer === undefined ? 'l2Misses' : 'l2Hits']++;
      return { asked, answers };
    } catch (error) {
      if (!(error instanceof TierUnavailableError)) throw error;
      this.#log.warn({ err: error }, 'L2 cannot be asked, reading from L3');
      this.#counts.l2Misses += asked.length;
      return { asked, answers: undefined, error };
    }
  }

  async #rowsOf<A extends Asked>(asked: readonly A[]): Promise<RowAnswers<A>> {
    // Before the statement is sent: L2 refuses copies of rows that were read too long ago.
    const look = this.#l2.look();
    try {
      const answers = await this.#l3.getMany(idsOf(asked));
      for (const answer of answers) this.#counts[answer === undefined ? 'l3Misses' : 'l3Hits']++;
      return { asked, answers, look };
    } catch (error) {
      return { asked, answers: undefined, error, look };
    }
  }
}

function idsOf(asked: readonly Asked[]): string[] {
  return asked.map(({ id }) => id);
}

function partsOf<T>(items: readonly T[], size: number): (readonly T[])[] {
  if (items.length <= size) return items.length === 0 ? [] : [items];
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );
}
