import type { Config } from '../config.ts';
import { messageOf, TierlineError } from '../errors.ts';
import { parseNewItem } from '../schema/item.ts';
import type { BatchTicket, NewItem, Producer, WaitOptions } from '../types.ts';
import type { SourceLine } from './input/item-source.ts';

export interface LoaderOptions {
  readonly config: Pick<Config, 'chunkMaxItems' | 'chunkMaxBytes' | 'maxContentBytes'>;
  /** State of items that name none. */
  readonly state: string | undefined;
  /** Stop at the first broken line, before anything of its chunk is queued. */
  readonly strict: boolean;
  /** Bounds the wait for what is queued, milliseconds. */
  readonly timeoutMs: number | undefined;
  /** Hears of each line that was not stored, and why. */
  readonly onProblem: (line: number, problem: string) => void;
}

/** What became of the lines. `queued` were accepted by the queue; of them the rest of the counts. */
export interface LoadCounts {
  readonly read: number;
  readonly broken: number;
  readonly queued: number;
  readonly settled: number;
  readonly superseded: number;
  readonly dead: number;
}

/** Queued and unsettled at once: enough to keep several workers in full batches, little enough for a small heap. */
const MAX_UNSETTLED_ITEMS = 12_000;

/** A strict load met a broken line, which `onProblem` has heard of. */
export class StrictStop extends Error {}

/**
 * Queues lines as items, a chunk at a time, and learns what became of them. The next chunk is submitted once Redis has
 * the one before, so of two lines with one id the later wins (I1); memory is bounded by the unsettled.
 */
export class Loader {
  readonly #producer: Pick<Producer, 'submitMany'>;
  readonly #options: LoaderOptions;
  readonly #counts = { read: 0, broken: 0, queued: 0, settled: 0, superseded: 0, dead: 0 };
  #chunk: SourceLine[] = [];
  #chunkBytes = 0;
  readonly #unsettled = new Set<Promise<void>>();
  #submitting: number | undefined;
  /** The first chunk whose fate is not known. */
  #failure: { readonly error: unknown } | undefined;

  constructor(producer: Pick<Producer, 'submitMany'>, options: LoaderOptions) {
    this.#producer = producer;
    this.#options = options;
  }

  get counts(): LoadCounts {
    return this.#counts;
  }

  /** First line of the chunk that Redis has not taken yet. */
  get submitting(): number | undefined {
    return this.#submitting;
  }

  /** @throws StrictStop, and what `submitMany` and `settled` throw */
  async add(line: SourceLine): Promise<void> {
    const { chunkMaxItems, chunkMaxBytes } = this.#options.config;
    if (this.#chunk.length > 0 && this.#chunkBytes + line.bytes > chunkMaxBytes) await this.#submit();
    this.#counts.read++;
    this.#chunk.push(line);
    this.#chunkBytes += line.bytes;
    if (this.#chunk.length >= chunkMaxItems) await this.#submit();
  }

  /** Queues the last lines and waits until everything has settled. @throws as `add` */
  async finish(): Promise<void> {
    await this.#submit();
    await this.settle();
  }

  /** Waits until everything that was queued has settled. @throws SettleTimeoutError, QueueLostError, ClosedError */
  async settle(): Promise<void> {
    await Promise.all(this.#unsettled);
    this.#throwFailure();
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #submit(): Promise<void> {
    const chunk = this.#chunk;
    this.#chunk = [];
    this.#chunkBytes = 0;
    const lines: number[] = [];
    const items: NewItem[] = [];
    const problems: (readonly [line: number, problem: string])[] = [];
    for (const entry of chunk) {
      const problem = 'problem' in entry ? entry.problem : this.#strictProblem(entry.item);
      if (problem !== undefined) {
        problems.push([entry.line, problem]);
      } else if ('item' in entry) {
        lines.push(entry.line);
        items.push(entry.item);
      }
    }
    if (items.length === 0 || (this.#options.strict && problems.length > 0)) {
      this.#report(problems);
      if (this.#options.strict && problems.length > 0) throw new StrictStop();
      return;
    }

    const { state } = this.#options;
    this.#submitting = lines[0];
    const batch = await this.#submitOrReport(items, state, problems);
    this.#submitting = undefined;
    const rejected = new Set(batch.rejected.map(({ index }) => index));
    this.#report([
      ...problems,
      ...batch.rejected.map(({ index, error }) => [lines[index] as number, messageOf(error)] as const),
    ]);
    this.#counts.queued += batch.accepted;
    const accepted = rejected.size === 0 ? lines : lines.filter((_, index) => !rejected.has(index));
    const settling = this.#settle(batch, accepted).finally(() => this.#unsettled.delete(settling));
    this.#unsettled.add(settling);
    // Nobody may be waiting for it just now.
    settling.catch((error: unknown) => (this.#failure ??= { error }));
    while (this.#counts.queued - this.#counts.settled >= MAX_UNSETTLED_ITEMS) {
      this.#throwFailure();
      await Promise.race(this.#unsettled);
    }
  }

  async #settle(batch: BatchTicket, lines: readonly number[]): Promise<void> {
    const { timeoutMs } = this.#options;
    const options: WaitOptions = timeoutMs === undefined ? {} : { timeoutMs };
    const { outcomes } = await batch.settled(options);
    outcomes.forEach(({ status, reason }, i) => {
      if (status === 'superseded') this.#counts.superseded++;
      if (status !== 'dead') return;
      this.#counts.dead++;
      this.#options.onProblem(lines[i] as number, `was refused by Postgres: ${reason ?? 'no reason given'}`);
    });
    this.#counts.settled += outcomes.length;
  }

  async #submitOrReport(
    items: readonly NewItem[],
    state: string | undefined,
    problems: readonly (readonly [line: number, problem: string])[],
  ): Promise<BatchTicket> {
    try {
      return await this.#producer.submitMany(items, state === undefined ? {} : { state });
    } catch (error) {
      this.#report(problems);
      throw error;
    }
  }

  /** In the order of the lines: what cannot be read is known before what cannot be queued. */
  #report(problems: readonly (readonly [line: number, problem: string])[]): void {
    for (const [line, problem] of problems.toSorted(([a], [b]) => a - b)) {
      this.#counts.broken++;
      this.#options.onProblem(line, problem);
    }
  }

  /** What the queue would refuse, before anything is queued. */
  #strictProblem(item: NewItem): string | undefined {
    if (!this.#options.strict) return undefined;
    try {
      parseNewItem(item, this.#options.config.maxContentBytes);
      return undefined;
    } catch (error) {
      if (!(error instanceof TierlineError)) throw error;
      return messageOf(error);
    }
  }
}
