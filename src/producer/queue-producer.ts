import { abortable } from '../abortable.ts';
import type { Config } from '../config.ts';
import { ClosedError, messageOf, QueueUnavailableError, TierlineError } from '../errors.ts';
import { CallGate } from '../call-gate.ts';
import { parseId, parseNewItem, parsePrefix, parseState } from '../schema/item.ts';
import {
  callOptionsOf,
  deleteManyOptionsOf,
  submitManyOptionsOf,
  submitOptionsOf,
  waitOptionsOf,
} from '../schema/options.ts';
import type { CallOptions, WaitOptions } from '../types/call.ts';
import type {
  BatchTicket,
  NewItem,
  Pressure,
  Producer,
  RangeTicket,
  SubmitOptions,
  Ticket,
} from '../types/write.ts';
import type { RangeJob } from '../schema/job.ts';
import { partitionOf } from '../partition.ts';
import { pressureOfAll } from './admission.ts';
import type { Sink } from './coalescer.ts';
import {
  allRejected,
  byIndex,
  deleteOperation,
  lengthOf,
  parseAll,
  putOperation,
  refuseLarge,
  refuseLong,
  refuseSpanning,
  type SizedOperation,
  stateOperation,
} from './parsed-call.ts';
import type { ProducerLane } from './producer-lane.ts';
import type { ProducerObserver } from './producer-observer.ts';
import { ChunkTicket, SubmittedBatch, SubmittedRange, waitFor } from './ticket.ts';
import type { TrackedChunk } from './tracked-chunk.ts';

export interface ProducerParts {
  readonly config: Config;
  /** By partition. */
  readonly lanes: readonly ProducerLane[];
  readonly observer: ProducerObserver;
  /** Called for each accepted operation, before the caller gets its ticket. */
  readonly onAccepted: (operation: SizedOperation, ticket: ChunkTicket) => void;
  /** Closes what the producer runs on. */
  readonly release: () => Promise<void>;
}

export class QueueProducer implements Producer {
  readonly #parts: ProducerParts;
  readonly #lanes: readonly ProducerLane[];
  readonly #gate = new CallGate('producer');
  #closing: Promise<void> | undefined;

  constructor(parts: ProducerParts) {
    this.#parts = parts;
    this.#lanes = parts.lanes;
  }

  /** @throws InvalidItemError, BackpressureError, QueueUnavailableError, ClosedError */
  async submit(item: NewItem, options?: SubmitOptions & CallOptions): Promise<Ticket> {
    const { tiers, ttlMs, state, signal } = this.#gate.admit(submitOptionsOf, options);
    this.#checkRoom(1);
    const serialized = parseNewItem(item, this.#parts.config.maxContentBytes);
    return this.#submitOne(putOperation(serialized, tiers, ttlMs, state), signal);
  }

  /**
   * Items that break a limit are rejected one by one, with their index, and the others are accepted. With `atomic` one bad item
   * rejects all. When the queue fills up during a large call, the items that find no room are rejected in the same way.
   * @throws BackpressureError or QueueUnavailableError when Redis took none of them, InvalidItemError for the call itself,
   * ClosedError
   */
  async submitMany(
    items: readonly NewItem[],
    options?: SubmitOptions & CallOptions & { readonly atomic?: boolean },
  ): Promise<BatchTicket> {
    const { tiers, ttlMs, state, atomic, signal } = this.#gate.admit(submitManyOptionsOf, options);
    const total = lengthOf(items);
    if (total > 0) this.#checkRoom(total);
    return this.#submitAll(
      items,
      (item) => putOperation(parseNewItem(item, this.#parts.config.maxContentBytes), tiers, ttlMs, state),
      (item) => item?.id,
      atomic,
      signal,
    );
  }

  /** @throws InvalidItemError, BackpressureError, QueueUnavailableError, ClosedError */
  async delete(id: string, options?: CallOptions): Promise<Ticket> {
    const { signal } = this.#gate.admit(callOptionsOf, options);
    return this.#submitOne(deleteOperation(parseId(id)), signal);
  }

  /** As `submitMany`. */
  async deleteMany(
    ids: readonly string[],
    options?: CallOptions & { readonly atomic?: boolean },
  ): Promise<BatchTicket> {
    const { atomic, signal } = this.#gate.admit(deleteManyOptionsOf, options);
    return this.#submitAll(
      ids,
      (id) => deleteOperation(parseId(id)),
      (id) => id,
      atomic,
      signal,
    );
  }

  /** @throws InvalidItemError, BackpressureError, QueueUnavailableError, ClosedError */
  async setState(id: string, state: string, options?: CallOptions): Promise<Ticket> {
    const { signal } = this.#gate.admit(callOptionsOf, options);
    return this.#submitOne(stateOperation(parseId(id), parseState(state)), signal);
  }

  /** @throws InvalidItemError, BackpressureError, QueueUnavailableError, ClosedError */
  async deleteByState(state: string, options?: CallOptions): Promise<RangeTicket> {
    const { signal } = this.#gate.admit(callOptionsOf, options);
    return this.#submitRange('state', parseState(state), signal);
  }

  /** @throws InvalidItemError, BackpressureError, QueueUnavailableError, ClosedError */
  async deletePrefix(prefix: string, options?: CallOptions): Promise<RangeTicket> {
    const { signal } = this.#gate.admit(callOptionsOf, options);
    return this.#submitRange('prefix', parsePrefix(prefix), signal);
  }

  /** @throws SettleTimeoutError, QueueLostError, ClosedError, or the signal's reason */
  async flush(options?: WaitOptions): Promise<void> {
    const wait = this.#gate.admit(waitOptionsOf, options);
    this.#sendGathered();
    await abortable(Promise.all(this.#lanes.map((lane) => lane.arrivals())), wait.signal);
    const unsettled = this.#lanes.flatMap(({ tracker }) => tracker.unsettled);
    await waitFor(unsettled, wait);
    // Do not report success when the outcome of a chunk is unknown, even if that was found out earlier.
    const losses = this.#lanes.map(({ tracker }) => tracker.takeLoss());
    const lost = losses.find((loss) => loss !== undefined);
    if (lost !== undefined) throw lost;
    for (const chunk of unsettled) chunk.outcomeOf(0);
  }

  pressure(): Pressure {
    return pressureOfAll(this.#lanes.map(({ queue }) => queue.pressure));
  }

  /** Sends what is gathered, then closes. Accepted writes go on without this process. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#gate.close();
    this.#sendGathered();
    await Promise.all(this.#lanes.map((lane) => lane.close()));
    const closed = 'The producer was closed. Accepted writes go on; ask a reader for their status.';
    for (const { tracker } of this.#lanes) tracker.close(new ClosedError(closed));
    await this.#parts.release();
  }

  #laneOf(id: string): ProducerLane {
    return this.#lanes[partitionOf(id, this.#lanes.length)] as ProducerLane;
  }

  #sendGathered(): void {
    for (const { coalescer } of this.#lanes) coalescer.flush();
  }

  /**
   * Refuses when every lane is full. The items are not read yet, so their lanes are not known; reading what is refused then would take
   * the time of the drain under a flood.
   */
  #checkRoom(items: number): void {
    let refusal: unknown;
    for (const { queue } of this.#lanes) {
      try {
        queue.checkRoom();
        return;
      } catch (error) {
        refusal = error;
      }
    }
    this.#parts.observer.chunkRefused(items, 'full');
    throw refusal;
  }

  async #submitRange(
    kind: RangeJob['kind'],
    value: string,
    signal: AbortSignal | undefined,
  ): Promise<RangeTicket> {
    const adding = Promise.allSettled(this.#lanes.map((lane) => lane.addRange(kind, value)));
    return new SubmittedRange(allAdded(await abortable(adding, signal)));
  }

  /** Resolves when the operation is in Redis. */
  #submitOne(operation: SizedOperation, signal: AbortSignal | undefined): Promise<Ticket> {
    const ticket = new Promise<Ticket>((resolve, reject) => {
      const sink = new SingleSink(operation, this.#parts.onAccepted, resolve, reject);
      this.#laneOf(operation.id).coalescer.add(operation, sink, 0);
    });
    return abortable(ticket, signal);
  }

  async #submitAll<T>(
    inputs: readonly T[],
    parse: (input: T) => SizedOperation,
    idOf: (input: T | undefined) => unknown,
    atomic: boolean,
    signal: AbortSignal | undefined,
  ): Promise<BatchTicket> {
    const total = lengthOf(inputs);
    if (atomic) refuseLong(total);
    const call = parseAll(inputs, total, parse, idOf);
    const { operations, indexes, rejected } = call;
    if (atomic) refuseLarge(call, this.#parts.config.maxContentBytes);
    if (atomic && rejected.length > 0) return new SubmittedBatch(total, [], allRejected(call));
    if (operations.length === 0) return new SubmittedBatch(total, [], rejected);
    if (atomic) refuseSpanning(call, this.#lanes.length);

    const results = await abortable(this.#collect(operations, atomic), signal);
    const tickets: ChunkTicket[] = [];
    results.forEach((result, i) => {
      if (result instanceof ChunkTicket) tickets.push(result);
      else {
        const { id } = operations[i] as SizedOperation;
        rejected.push({ index: indexes[i] as number, id, error: result });
      }
    });
    const [failure] = results;
    if (tickets.length === 0 && !(failure instanceof ChunkTicket) && failure !== undefined) throw failure;
    return new SubmittedBatch(total, tickets, rejected.sort(byIndex));
  }

  /** Resolves when every operation is in Redis or refused, in their order. */
  #collect(operations: readonly SizedOperation[], atomic: boolean): Promise<(ChunkTicket | TierlineError)[]> {
    return new Promise((resolve) => {
      const results: (ChunkTicket | TierlineError)[] = [];
      let open = operations.length;
      const put = (slot: number, result: ChunkTicket | TierlineError) => {
        results[slot] = result;
        if (--open === 0) resolve(results);
      };
      const sink: Sink = {
        queued: (slot, chunk, index) => {
          const operation = operations[slot] as SizedOperation;
          const ticket = new ChunkTicket(operation.id, chunk, index);
          this.#parts.onAccepted(operation, ticket);
          put(slot, ticket);
        },
        refused: (slot, error) => put(slot, refusalOf(error)),
      };
      const laneOf = (operation: SizedOperation) => this.#laneOf(operation.id).coalescer;
      if (atomic) laneOf(operations[0] as SizedOperation).addAtomic(operations, sink);
      else operations.forEach((operation, slot) => laneOf(operation).add(operation, sink, slot));
    });
  }
}

/** The call of `submit`, `delete` or `setState`. It is one object, because 1,000 such calls at a time make much garbage. */
class SingleSink implements Sink {
  readonly #operation: SizedOperation;
  readonly #onAccepted: ProducerParts['onAccepted'];
  readonly #resolve: (ticket: Ticket) => void;
  readonly #reject: (error: TierlineError) => void;

  constructor(
    operation: SizedOperation,
    onAccepted: ProducerParts['onAccepted'],
    resolve: (ticket: Ticket) => void,
    reject: (error: TierlineError) => void,
  ) {
    this.#operation = operation;
    this.#onAccepted = onAccepted;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  queued(_slot: number, chunk: TrackedChunk, index: number): void {
    const ticket = new ChunkTicket(this.#operation.id, chunk, index);
    this.#onAccepted(this.#operation, ticket);
    this.#resolve(ticket);
  }

  refused(_slot: number, error: unknown): void {
    this.#reject(refusalOf(error));
  }
}

/**
 * The chunks of a range delete, one a partition.
 * @throws why one was not added. When others were, that is known of a part of the range only
 */
function allAdded(results: readonly PromiseSettledResult<TrackedChunk>[]): TrackedChunk[] {
  const chunks = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const failure = results.find((result) => result.status === 'rejected');
  if (failure === undefined) return chunks;
  if (chunks.length === 0) throw failure.reason;
  throw new QueueUnavailableError(
    `Redis took the range delete for ${chunks.length} of ${results.length} partitions: ${messageOf(failure.reason)} Make the same call again.`,
    { cause: failure.reason, accepted: 'unknown' },
  );
}

function refusalOf(error: unknown): TierlineError {
  return error instanceof TierlineError
    ? error
    : new QueueUnavailableError(messageOf(error), { cause: error, accepted: 'unknown' });
}
