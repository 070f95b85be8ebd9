import { pause } from '../abortable.ts';
import type { Config } from '../config.ts';
import { BackpressureError, messageOf, TierlineError } from '../errors.ts';
import { parseNewItem } from '../schema/item.ts';
import { failureOf } from '../schema/feed.ts';
import type { WaitOptions } from '../types/call.ts';
import type { BatchTicket, NewItem, Producer } from '../types/write.ts';
import type { SourceLine } from '../schema/item-lines.ts';

export interface LoaderOptions {
  readonly config: Pick<Config, 'chunkMaxItems' | 'chunkMaxBytes' | 'maxContentBytes'>;
  /** State of items that name none. */
  readonly state: string | undefined;
  /** Stop at the first broken line, before anything of its chunk is queued. */
  readonly strict: boolean;
  /** Bounds the wait for what is queued, milliseconds. */
  readonly timeoutMs: number | undefined;
  /** Called for each line that was not stored, with the reason. */
  readonly onProblem: (line: number, problem: string) => void;
  /** Called each time that the queue is full. The load waits and goes on. */
  readonly onFull: (error: BackpressureError) => void;
}

/** How many lines were read, broken, and accepted by the queue; the last three count parts of `queued`. */
export interface LoadCounts {
  readonly read: number;
  readonly broken: number;
  readonly queued: number;
  readonly settled: number;
  readonly superseded: number;
  readonly dead: number;
}

/** Most items that are queued and unsettled: enough for full batches at several workers, and few enough for a small heap. */
const MAX_UNSETTLED_ITEMS = 12_000;

/** A line that was not stored, and why. */
type Rejected = readonly [line: number, problem: string];

/** A strict load found a broken line. `onProblem` was called with it. */
export class StrictStop extends Error {}

/**
 * Queues lines as items, a chunk at a time, and waits for their outcomes. A chunk is submitted once Redis has the chunk
 * before it, so of two lines with one id the later wins (I1). The limit of unsettled items bounds the memory.
 */
export class Loader {
  readonly #producer: Pick<Producer, 'submitMany'>;
  readonly #options: LoaderOptions;
  readonly #counts = { read: 0, broken: 0, queued: 0, settled: 0, superseded: 0, dead: 0 };
  #chunk: SourceLine[] = [];
  #chunkBytes = 0;
  readonly #unsettled = new Set<Promise<void>>();
  #submitting: number | undefined;
  /** The error of the first chunk that did not settle. */
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
    const problems: Rejected[] = [];
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

    this.#submitting = lines[0];
    let rejected: Rejected[];
    try {
      rejected = await this.#queueAll(lines, items);
    } catch (error) {
      this.#report(problems);
      throw error;
    }
    this.#submitting = undefined;
    this.#report([...problems, ...rejected]);
    while (this.#counts.queued - this.#counts.settled >= MAX_UNSETTLED_ITEMS) {
      this.#throwFailure();
      await Promise.race(this.#unsettled);
    }
  }

  /** Queues the items and waits while the queue is full. Returns the items that are invalid. */
  async #queueAll(lines: readonly number[], items: readonly NewItem[]): Promise<Rejected[]> {
    const rejected: Rejected[] = [];
    let left = items.map((item, i) => ({ item, line: lines[i] as number }));
    while (left.length > 0) {
      const sent = left;
      const { batch, full } = await this.#submitSome(sent.map(({ item }) => item));
      const refused = new Set(batch?.rejected.map(({ index }) => index));
      left = batch === undefined ? sent : [];
      for (const { index, error } of batch?.rejected ?? []) {
        const entry = sent[index] as { item: NewItem; line: number };
        if (error instanceof BackpressureError) left.push(entry);
        else rejected.push([entry.line, messageOf(error)]);
      }
      if (batch !== undefined) {
        this.#follow(
          batch,
          sent.filter((_, index) => !refused.has(index)).map(({ line }) => line),
        );
      }
      if (full === undefined) continue;
      this.#options.onFull(full);
      await pause(full.retryAfterMs);
    }
    return rejected;
  }

  /** Submits once. Returns no batch when the queue had room for none of the items. */
  async #submitSome(
    items: readonly NewItem[],
  ): Promise<{ readonly batch?: BatchTicket; readonly full: BackpressureError | undefined }> {
    const { state } = this.#options;
    try {
      const batch = await this.#producer.submitMany(items, state === undefined ? {} : { state });
      const full = batch.rejected.find(({ error }) => error instanceof BackpressureError)?.error;
      return { batch, full: full as BackpressureError | undefined };
    } catch (error) {
      if (!(error instanceof BackpressureError)) throw error;
      return { full: error };
    }
  }

  #follow(batch: BatchTicket, lines: readonly number[]): void {
    this.#counts.queued += batch.accepted;
    const settling = this.#settle(batch, lines).finally(() => this.#unsettled.delete(settling));
    this.#unsettled.add(settling);
    // Nothing else may be waiting for it when it fails.
    settling.catch((error: unknown) => (this.#failure ??= { error }));
  }

  async #settle(batch: BatchTicket, lines: readonly number[]): Promise<void> {
    const { timeoutMs } = this.#options;
    const options: WaitOptions = timeoutMs === undefined ? {} : { timeoutMs };
    const { outcomes } = await batch.settled(options);
    outcomes.forEach((outcome, i) => {
      if (outcome.status === 'superseded') this.#counts.superseded++;
      const failure = failureOf(outcome);
      if (failure === undefined) return;
      this.#counts.dead++;
      this.#options.onProblem(lines[i] as number, failure);
    });
    this.#counts.settled += outcomes.length;
  }

  /** Reports in the order of the lines: broken lines are found before refused items. */
  #report(problems: readonly Rejected[]): void {
    for (const [line, problem] of problems.toSorted(([a], [b]) => a - b)) {
      this.#counts.broken++;
      this.#options.onProblem(line, problem);
    }
  }

  /** Why the queue would refuse the item, when the load is strict. */
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
