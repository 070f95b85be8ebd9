import { within } from '../abortable.ts';
import type { Logger } from '../log.ts';
import { type Pool, sqlState } from '../postgres/pool.ts';
import { type ReplicaPlace, type ReplicaRows, replicaPlace } from '../postgres/replica.ts';
import type { ReplicaFigures, ReplicaState } from '../types/health.ts';
import type { ReplayNeeds, Standing } from './replay-needs.ts';

/** Milliseconds until a server that is not used is looked at again, doubled each time up to the second. */
const FIRST_CHECK_MS = 50;
const LAST_CHECK_MS = 1000;

/** What an operator may do about each. */
const FIXES: Readonly<Record<Exclude<ReplicaState, 'used' | 'behind'>, string>> = {
  away: 'it does not answer in time: start it, or correct TIERLINE_REPLICAS',
  'no-replica':
    'it is not a streaming replica (any more): after a failover point DATABASE_URL at the new primary and TIERLINE_REPLICAS at replicas of that',
  'other-database': 'it is of another database than DATABASE_URL: correct TIERLINE_REPLICAS',
  'other-timeline':
    'it follows another timeline than the primary: let it follow the new primary, or build it anew with pg_basebackup; if it does already, CHECKPOINT on it makes that known',
};

export function replicaFix(state: keyof typeof FIXES): string {
  return FIXES[state];
}

/**
 * One replica. It is *used* until it fails, or shows that it cannot serve. Then it is *put aside*: reads pass it by, and it is
 * looked at in the background until it can serve again. So a server that hangs costs one round of reads their share of the time
 * limit, and not every read.
 */
export class ReplicaServer {
  readonly pool: Pool;
  readonly name: string;
  readonly #needs: ReplayNeeds;
  readonly #timeoutMs: number;
  readonly #log: Logger;
  #state: ReplicaState = 'used';
  #check: NodeJS.Timeout | undefined;
  #closed = false;
  #place: ReplicaPlace | undefined;
  /** Reads that it is answering now. */
  underway = 0;
  requests = 0;
  failures = 0;

  /**
   * @param name for logs and figures: nothing secret
   * @param timeoutMs milliseconds one read may take
   */
  constructor(name: string, pool: Pool, needs: ReplayNeeds, timeoutMs: number, log: Logger) {
    this.name = name;
    this.pool = pool;
    this.#needs = needs;
    this.#timeoutMs = timeoutMs;
    this.#log = log;
  }

  get state(): ReplicaState {
    return this.#state;
  }

  /** By the places that it and the primary told last. */
  get figures(): ReplicaFigures {
    const { primary } = this.#needs;
    const place = this.#place;
    const lagBytes = primary && place && Math.max(0, Number(primary.lsn - place.lsn));
    return { server: this.name, state: this.#state, ...(lagBytes !== undefined && { lagBytes }) };
  }

  /** Undefined when it cannot serve; then it is put aside. Never rejects. */
  async read<T>(
    ids: readonly string[],
    ask: (pool: Pool, ids: readonly string[], timeoutMs: number) => Promise<ReplicaRows<T>>,
  ): Promise<ReplicaRows<T> | undefined> {
    this.requests++;
    this.underway++;
    try {
      // The driver's own limit begins when there is a connection.
      const answer = await within(this.#timeoutMs, ask(this.pool, ids, this.#timeoutMs));
      return this.#judge(answer.place) ? answer : undefined;
    } catch (error) {
      this.failures++;
      this.#failed(error);
      return undefined;
    } finally {
      this.underway--;
    }
  }

  /** Asks it for its place, and so renews its lag and its state. Rejects when it does not answer. */
  async look(): Promise<void> {
    try {
      const timeoutMs = Math.min(this.#timeoutMs, LAST_CHECK_MS);
      this.#judge(await within(timeoutMs, replicaPlace(this.pool, timeoutMs)));
    } catch (error) {
      this.#failed(error);
      throw error;
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#check);
  }

  /** Whether it can serve. */
  #judge(place: ReplicaPlace): boolean {
    this.#place = place;
    const state = replicaState(place, this.#needs.standing(place));
    if (state === 'other-timeline') this.#needs.renew(true);
    this.#enter(state);
    return state === 'used';
  }

  #failed(error: unknown): void {
    // Replay has ended one statement, because it removes rows that the statement may need. The server is well.
    if (sqlState(error)?.startsWith('40') === true) return;
    this.#enter('away', error);
  }

  #enter(state: ReplicaState, error?: unknown): void {
    if (this.#closed) return;
    const before = this.#state;
    this.#state = state;
    if (state !== 'used') this.#checkIn(FIRST_CHECK_MS);
    if (state === before) return;
    const replica = this.name;
    if (state !== 'used' && state !== 'behind') {
      const fix = replicaFix(state);
      this.#log.warn({ replica, state, fix, err: error }, 'replica is not used; reads go to the primary');
    } else if (before !== 'used' && before !== 'behind') {
      this.#log.info({ replica }, 'replica can be used again');
    }
  }

  #checkIn(ms: number): void {
    if (this.#check !== undefined || this.#closed) return;
    this.#check = setTimeout(() => {
      this.look()
        .catch(() => undefined)
        .finally(() => {
          clearTimeout(this.#check);
          this.#check = undefined;
          if (this.#state !== 'used') this.#checkIn(Math.min(2 * ms, LAST_CHECK_MS));
        });
    }, ms).unref();
  }
}

/** What a server can be used for that stands like this. */
export function replicaState(place: ReplicaPlace, standing: Standing): ReplicaState {
  if (!place.isReplica) return 'no-replica';
  switch (standing) {
    case 'other':
      return 'other-database';
    case 'timeline':
      return 'other-timeline';
    case 'behind':
      return 'behind';
    default:
      // Nothing can be compared yet: each answer is compared before it counts.
      return 'used';
  }
}
