import { pause } from '../abortable.ts';
import { MAX_PEER_ROWS, repairOptionsOf } from '../schema/options.ts';
import type {
  MerkleDifference,
  RefusedRow,
  Registers,
  RepairCounts,
  RepairOptions,
  RepairPeer,
  RepairResult,
} from '../types/merkle.ts';
import { admitPeer, hasNewer, registersById } from './comparable.ts';
import { differingRows } from './diff.ts';
import { differingWeeks, weekOf } from './tombstone-weeks.ts';

/** Rows that are compared, and moved, at once. */
const BATCH_ROWS = MAX_PEER_ROWS;
/** Batches under way together. Each waits until its rows have settled, and a drain worker merges what waits. */
const BATCHES_TOGETHER = 8;
/** How often all that still differs is looked at. Under continuing writes some always does. */
const MAX_ROUNDS = 4;
/** Before another look when nothing had to be moved: what differs is on its way. */
const ROUND_PAUSE_MS = 200;
const MAX_REFUSED = 1000;

type ParsedOptions = ReturnType<typeof repairOptionsOf>;

/**
 * Makes two deployments equal: each row's registers go, with their own stamps, to the side that has older ones. What is newer stays.
 * Call it again when it was cut off: it finds what still differs.
 *
 * It is anti-entropy as in Amazon's Dynamo (SOSP 2007) and Riak. The rows that differ are found through both hash trees, tombstones
 * too. The receiver stores a register as any write, so an older stamp never undoes a newer one, and a row that is moved twice
 * changes nothing.
 * @param here what `openLocalPeer` gave, or `openPeer`
 * @param there the other side
 * @throws PeerRefusedError when they cannot be compared, before anything is moved; InvalidItemError, the signal's reason, and what the
 *   sides throw
 */
export async function repair(
  here: RepairPeer,
  there: RepairPeer,
  options?: RepairOptions,
): Promise<RepairResult> {
  const parsed = repairOptionsOf(options);
  parsed.signal?.throwIfAborted();
  const { deployment, firstWeek } = await admitPeer(here, there);
  const result = await new Repair(here, there, parsed, firstWeek).run();
  if (result.equal) await here.noteEqual?.(deployment);
  return result;
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
  /** When the next row may be moved, so that `rate` is kept. */
  #nextMs = 0;

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
    await eachOf(this.#batches(week), BATCHES_TOGETHER, (batch) => this.#repairBatch(batch, week));
  }

  async *#batches(week: number): AsyncGenerator<readonly MerkleDifference[]> {
    const { rate, recheckMs, signal } = this.#options;
    const recheck = recheckMs === 0 ? undefined : () => pause(recheckMs, { signal });
    // What may be moved in a second, so that a slow repair goes on evenly.
    const size = Math.min(BATCH_ROWS, Math.ceil(rate));
    for await (const found of differingRows(this.#here, this.#there, week, recheck)) {
      for (let at = 0; at < found.length; at += size) {
        signal?.throwIfAborted();
        yield found.slice(at, at + size);
      }
    }
  }

  async #repairBatch(found: readonly MerkleDifference[], week: number): Promise<void> {
    const { direction, dryRun, onProgress } = this.#options;
    // A row that is in other weeks on both sides is found in each. What was moved differs no more; a dry run counts it once.
    const plan = await planMoves(this.#here, this.#there, found, dryRun ? week : undefined);
    const pull = direction === 'push' ? [] : plan.pull;
    const push = direction === 'pull' ? [] : plan.push;
    if (dryRun) {
      this.#pulled.rows += pull.length;
      this.#pushed.rows += push.length;
    } else {
      await this.#turn(pull.length + push.length);
      // One after the other: when one fails, the other must not go on by itself.
      await this.#move(this.#there, this.#here, pull, 'here', this.#pulled);
      await this.#move(this.#here, this.#there, push, 'there', this.#pushed);
    }
    onProgress?.(this.#counts());
  }

  /** Waits until so many rows may be moved. */
  async #turn(rows: number): Promise<void> {
    const { rate, signal } = this.#options;
    const nowMs = performance.now();
    const turnMs = Math.max(nowMs, this.#nextMs);
    this.#nextMs = turnMs + (rows / rate) * 1000;
    if (turnMs > nowMs) await pause(turnMs - nowMs, { signal });
    signal?.throwIfAborted();
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

  /** Counts what differs in the same way twice: what is written meanwhile is on its way. */
  async #countLeft(): Promise<number> {
    const { recheckMs, signal } = this.#options;
    const recheck = () => pause(Math.max(recheckMs, ROUND_PAUSE_MS), { signal });
    // A row that is live on one side and deleted on the other is found in both places.
    const left = new Set<string>();
    for (const week of await this.#differingWeeks()) {
      for await (const found of differingRows(this.#here, this.#there, week, recheck)) {
        for (const { id } of found) left.add(id);
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

/**
 * Does the work of each value, of at most `width` at once. The next value is asked for as soon as there is room, so whoever finds
 * values goes on while others are worked on. After an error no work begins.
 * @throws the first error, when all work that has begun is over: the caller may close what the work uses
 */
export async function eachOf<T>(
  values: AsyncIterable<T>,
  width: number,
  work: (value: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>();
  const errors: unknown[] = [];
  const run = async (value: T) => {
    try {
      await work(value);
    } catch (error) {
      errors.push(error);
    }
  };
  try {
    for await (const value of values) {
      if (errors.length > 0) break;
      const one = run(value).finally(() => running.delete(one));
      running.add(one);
      if (running.size === width) await Promise.race(running);
      if (errors.length > 0) break;
    }
  } catch (error) {
    errors.push(error);
  }
  await Promise.all(running);
  if (errors.length > 0) throw errors[0];
}

/** Ids whose rows go each way; an id may be in both. */
interface MovePlan {
  readonly pull: readonly string[];
  readonly push: readonly string[];
}

/**
 * Decides which way rows go that the sides list with other digests, or that one side lists alone. Mostly the other side has no row
 * then: it is asked, the row goes there, and the side that has it is not asked.
 * @param onlyOfWeek leaves out rows that are counted in another week (`weekOf`)
 */
async function planMoves(
  here: RepairPeer,
  there: RepairPeer,
  found: readonly MerkleDifference[],
  onlyOfWeek?: number,
): Promise<MovePlan> {
  const ask = (side: RepairPeer, which: (one: MerkleDifference) => boolean) =>
    registersById(
      side,
      found.filter(which).map(({ id }) => id),
    );
  const [own, others] = await Promise.all([
    ask(here, (one) => one.there !== undefined),
    ask(there, (one) => one.here !== undefined),
  ]);
  const isMissingHere = ({ id, here: listed }: MerkleDifference) => listed === undefined && !own.has(id);
  const isMissingThere = ({ id, there: listed }: MerkleDifference) => listed === undefined && !others.has(id);
  // A row that one side lists alone may be a tombstone on the other, or have come there meanwhile: then the newer one wins.
  const [moreOwn, moreOthers] = await Promise.all([
    ask(here, (one) => one.there === undefined && !isMissingThere(one)),
    ask(there, (one) => one.here === undefined && !isMissingHere(one)),
  ]);
  const ofHere = ({ id }: MerkleDifference): Registers | undefined => own.get(id) ?? moreOwn.get(id);
  const ofThere = ({ id }: MerkleDifference): Registers | undefined => others.get(id) ?? moreOthers.get(id);
  const counted = found.filter(
    (one) =>
      onlyOfWeek === undefined ||
      isMissingHere(one) ||
      isMissingThere(one) ||
      weekOf(ofHere(one), ofThere(one)) === onlyOfWeek,
  );
  const idsOf = (which: (one: MerkleDifference) => boolean) => counted.filter(which).map(({ id }) => id);
  return {
    pull: idsOf((one) => isMissingHere(one) || hasNewer(ofThere(one), ofHere(one))),
    push: idsOf((one) => isMissingThere(one) || hasNewer(ofHere(one), ofThere(one))),
  };
}
