import { pause } from '../abortable.ts';
import { type repairOptionsOf } from '../schema/options.ts';
import type { RefusedRow, Registers, RepairCounts, RepairPeer, RepairResult } from '../types/merkle.ts';
import { admitPeer } from './comparable.ts';
import { differingIds } from './diff.ts';
import { hasNewer, registersOfBoth } from './registers.ts';
import { differingWeeks, weekOf } from './tombstone-weeks.ts';

/** Ids that are compared, and rows that are moved, at once. */
const BATCH_ROWS = 500;
/** Batches under way together: a drain worker merges what waits. */
const BATCHES_TOGETHER = 4;
/** How often all that still differs is looked at. Under continuing writes some always does. */
const MAX_ROUNDS = 4;
/** Before another look when nothing had to be moved: what differs is on its way. */
const ROUND_PAUSE_MS = 200;
const MAX_REFUSED = 1000;

type ParsedOptions = ReturnType<typeof repairOptionsOf>;

/**
 * Makes two deployments equal (anti-entropy as in Amazon's Dynamo, SOSP 2007; active anti-entropy as in Riak). The rows that
 * differ are found through both hash trees, tombstones too. Then each register goes, with its own stamp, to the side that has an
 * older one or none. The receiver stores it as any write, so an older stamp never undoes a newer one, and a row that is moved twice
 * changes nothing. A repair that was cut off needs no note of where it was: a new one finds what still differs.
 * @throws PeerRefusedError before anything is moved, and what the sides throw
 */
export async function repairPeers(
  here: RepairPeer,
  there: RepairPeer,
  options: ParsedOptions,
): Promise<RepairResult> {
  const { deployment, firstWeek } = await admitPeer(here, there);
  const result = await new Repair(here, there, options, firstWeek).run();
  if (result.equal) await here.noteEqual?.(deployment);
  return result;
}

/** What is to be moved of some ids. */
interface Plan {
  readonly pull: readonly string[];
  readonly push: readonly string[];
}

interface MutableCounts {
  rows: number;
  bytes: number;
}

class Repair {
  readonly #here: RepairPeer;
  readonly #there: RepairPeer;
  readonly #options: ParsedOptions;
  readonly #firstWeek: number;
  readonly #pulled: MutableCounts = { rows: 0, bytes: 0 };
  readonly #pushed: MutableCounts = { rows: 0, bytes: 0 };
  readonly #refused = new Map<string, RefusedRow>();
  readonly #startedAt = performance.now();

  constructor(here: RepairPeer, there: RepairPeer, options: ParsedOptions, firstWeek: number) {
    this.#here = here;
    this.#there = there;
    this.#options = options;
    this.#firstWeek = firstWeek;
  }

  async run(): Promise<RepairResult> {
    const { dryRun, signal } = this.#options;
    for (let round = 1; ; round++) {
      const weeks = await this.#differingWeeks();
      if (weeks.length === 0) return this.#result(true, 0);
      const before = this.#moved;
      for (const week of weeks) await this.#repairWeek(week);
      if (dryRun) return this.#result(false, this.#moved, 'nothing was moved, because this was a dry run');
      if (round === MAX_ROUNDS) break;
      if (this.#moved === before) {
        if (this.#refused.size > 0) break;
        await pause(ROUND_PAUSE_MS, { signal });
      }
    }
    const left = await this.#countLeft();
    return left === 0 ? this.#result(true, 0) : this.#result(false, left, this.#whyNot());
  }

  get #moved(): number {
    return this.#pulled.rows + this.#pushed.rows;
  }

  #whyNot(): string {
    if (this.#refused.size > 0) return 'rows were refused';
    return this.#options.direction === 'both'
      ? 'writes went on, and some were on their way to the other side'
      : `rows are newer on the side that direction: ${this.#options.direction} does not change`;
  }

  #differingWeeks(): Promise<number[]> {
    return differingWeeks(this.#here, this.#there, this.#firstWeek);
  }

  async #repairWeek(week: number): Promise<void> {
    const { recheckMs, signal } = this.#options;
    const recheck = recheckMs === 0 ? undefined : () => pause(recheckMs, { signal });
    for await (const ids of differingIds(this.#here, this.#there, week, recheck)) {
      const batches: string[][] = [];
      for (let at = 0; at < ids.length; at += BATCH_ROWS) batches.push(ids.slice(at, at + BATCH_ROWS));
      while (batches.length > 0) {
        this.#options.signal?.throwIfAborted();
        await Promise.all(batches.splice(0, BATCHES_TOGETHER).map((batch) => this.#repairBatch(batch, week)));
        await this.#keepRate();
      }
    }
  }

  async #repairBatch(ids: readonly string[], week: number): Promise<void> {
    const { dryRun, onProgress } = this.#options;
    const { pull, push } = await this.#plan(ids, week);
    if (dryRun) {
      this.#pulled.rows += pull.length;
      this.#pushed.rows += push.length;
    } else {
      await Promise.all([
        this.#move(this.#there, this.#here, pull, 'here', this.#pulled),
        this.#move(this.#here, this.#there, push, 'there', this.#pushed),
      ]);
    }
    onProgress?.(this.#counts());
  }

  async #plan(ids: readonly string[], week: number): Promise<Plan> {
    const { direction, dryRun } = this.#options;
    const [here, there] = await registersOfBoth(this.#here, this.#there, ids);
    const goes = (from: ReadonlyMap<string, Registers>, to: ReadonlyMap<string, Registers>) =>
      ids.filter((id) => {
        // A row that is in other weeks on both sides is found in each. What was moved differs no more; a dry run counts it once.
        const isCounted = !dryRun || weekOf(here.get(id), there.get(id)) === week;
        return isCounted && hasNewer(from.get(id), to.get(id));
      });
    return {
      pull: direction === 'push' ? [] : goes(there, here),
      push: direction === 'pull' ? [] : goes(here, there),
    };
  }

  async #move(
    from: RepairPeer,
    to: RepairPeer,
    ids: readonly string[],
    side: RefusedRow['side'],
    counts: MutableCounts,
  ): Promise<void> {
    for (let open = ids; open.length > 0; ) {
      const { rows, answered } = await from.rows(open);
      open = open.slice(Math.max(1, answered));
      if (rows.length === 0) continue;
      const fates = await to.accept(rows);
      const taken = new Set(fates.filter(({ status }) => status === 'taken').map(({ id }) => id));
      for (const { id, body } of rows) {
        if (!taken.has(id)) continue;
        counts.rows++;
        counts.bytes += Buffer.byteLength(body);
      }
      for (const { id, status, reason = '' } of fates) {
        if (status === 'refused' && this.#refused.size < MAX_REFUSED) {
          this.#refused.set(`${side} ${id}`, { id, side, reason });
        }
      }
    }
  }

  async #keepRate(): Promise<void> {
    const dueMs = (this.#moved / this.#options.rate) * 1000;
    const aheadMs = dueMs - (performance.now() - this.#startedAt);
    if (aheadMs > 0 && !this.#options.dryRun) await pause(aheadMs, { signal: this.#options.signal });
  }

  /** Counts what differs in the same way twice: what is written meanwhile is on its way. */
  async #countLeft(): Promise<number> {
    const { recheckMs, signal } = this.#options;
    const recheck = () => pause(Math.max(recheckMs, ROUND_PAUSE_MS), { signal });
    // A row that is live on one side and deleted on the other is found in both places.
    const left = new Set<string>();
    for (const week of await this.#differingWeeks()) {
      for await (const ids of differingIds(this.#here, this.#there, week, recheck)) {
        for (const id of ids) left.add(id);
      }
    }
    return left.size;
  }

  #counts(): RepairCounts {
    return { pulled: { ...this.#pulled }, pushed: { ...this.#pushed } };
  }

  #result(equal: boolean, left: number, reason?: string): RepairResult {
    const refused = [...this.#refused.values()];
    return { equal, ...(reason === undefined ? {} : { reason }), ...this.#counts(), left, refused };
  }
}
