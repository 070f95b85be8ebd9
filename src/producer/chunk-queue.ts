import { randomUUID } from 'node:crypto';
import type { Queue } from 'bullmq';
import { Deadline, pause, within } from '../abortable.ts';
import type { Stamp } from '../clock.ts';
import type { Config } from '../config.ts';
import { type BackpressureError, messageOf, PartitionsError, QueueUnavailableError } from '../errors.ts';
import { type Keys, RANGES_QUEUE, WRITES_QUEUE } from '../keys.ts';
import type { Logger } from '../log.ts';
import {
  type Cover,
  type DoubtfulChunk,
  StampsRefused,
  takeStamps,
  withdrawChunk,
} from '../redis/chunk-notes.ts';
import { openQueue } from '../redis/bull-queue.ts';
import { chunkStates } from '../redis/in-flight.ts';
import { type ReplicaWaits, ReplicasBehind } from '../redis/replica-waits.ts';
import type { Redis } from '../redis/client.ts';
import { redisFailure, whenConnected, whenReady } from '../redis/connect.ts';
import { isReply } from '../redis/driver.ts';
import { CHUNK_JOB, RANGE_JOB, type RangeJob, toChunkJob, WRITE_JOB_OPTIONS } from '../schema/job.ts';
import type { Pressure } from '../types/write.ts';
import { Admission, PressureWatch } from './admission.ts';
import type { ChunkTracker } from './chunk-tracker.ts';
import { hasReserve, NOTED_BYTES, queuedBytes, type SizedOperation } from './parsed-call.ts';
import type { ProducerObserver } from './producer-observer.ts';
import { TrackedChunk } from './tracked-chunk.ts';
import { WorkerCensus } from './worker-census.ts';

/** The last part of `enqueueTimeoutMs`. In it a chunk is taken back when it is not known to have arrived. */
const WITHDRAW_MS = 250;

/** Puts chunks into BullMQ. Stamps are taken first, then the job is added, so the queue holds only stamped work. */
export class ChunkQueue {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #config: Config;
  readonly #tracker: ChunkTracker;
  readonly #replicas: ReplicaWaits | undefined;
  readonly #writes: Queue;
  readonly #ranges: Queue;
  readonly #workers: WorkerCensus;
  readonly #watch: PressureWatch;
  readonly #admission: Admission;
  readonly #adding = new Set<Promise<TrackedChunk>>();

  /**
   * @param redis a `failFast` connection that is ready
   * @param keys of one lane
   * @param replicas those of `redis`; left out: a chunk is accepted when `redis` has it
   */
  constructor(
    redis: Redis,
    keys: Keys,
    config: Config,
    tracker: ChunkTracker,
    observer: ProducerObserver,
    log: Logger,
    replicas?: ReplicaWaits,
  ) {
    this.#redis = redis;
    this.#replicas = replicas;
    this.#keys = keys;
    this.#config = config;
    this.#tracker = tracker;
    this.#watch = new PressureWatch(redis, keys, config, log);
    this.#admission = new Admission(config, observer, () => this.#watch.pressure);
    this.#writes = openQueue(WRITES_QUEUE, redis, keys, log);
    this.#ranges = openQueue(RANGES_QUEUE, redis, keys, log);
    this.#workers = new WorkerCensus(this.#writes);
  }

  /**
   * BullMQ looks at the server only once, when it starts. If Redis were away just then, every later add would fail with that
   * error.
   * @throws why it could not, or a timeout
   */
  async ready(timeoutMs: number): Promise<void> {
    await within(
      timeoutMs,
      Promise.all([this.#writes.waitUntilReady(), this.#ranges.waitUntilReady(), this.#watch.look()]),
    );
  }

  /** Chunks that are being added to Redis. */
  get adding(): Iterable<Promise<TrackedChunk>> {
    return this.#adding;
  }

  get pressure(): Pressure {
    return this.#watch.pressure;
  }

  /** @throws BackpressureError when Redis refused a submit a moment ago */
  checkRoom(): void {
    this.#admission.check();
  }

  /**
   * Resolves once the chunk is in Redis, and in as many of its replicas as are asked for. After a broken connection it tries again within `enqueueTimeoutMs`; the job's id makes
   * a second add of the same chunk harmless. When that fails, the chunk is taken back, and the error says whether it may have
   * been accepted. When the job is in Redis after all, the chunk is accepted.
   * @throws QueueUnavailableError, BackpressureError
   */
  add(operations: readonly SizedOperation[], atomic: boolean): Promise<TrackedChunk> {
    return this.#add({
      ids: operations.map((operation) => operation.id),
      bytes: operations.reduce((sum, operation) => sum + queuedBytes(operation), 0),
      hasReserve: operations.every(hasReserve),
      queue: this.#writes,
      name: CHUNK_JOB,
      dataAt: (first) => toChunkJob(first, operations, atomic),
    });
  }

  /** As `add`, for a range delete. It has one stamp and a job in the ranges queue. */
  addRange(kind: RangeJob['kind'], value: string): Promise<TrackedChunk> {
    return this.#add({
      ids: [],
      bytes: NOTED_BYTES,
      cover: { kind, value },
      hasReserve: true,
      queue: this.#ranges,
      name: RANGE_JOB,
      dataAt: (stamp) => ({ v: 1, kind, value, stamp }) satisfies RangeJob,
    });
  }

  #add(draft: Draft): Promise<TrackedChunk> {
    const adding = this.#admit(draft).finally(() => this.#adding.delete(adding));
    this.#adding.add(adding);
    return adding;
  }

  async #admit(draft: Draft): Promise<TrackedChunk> {
    const turn = this.#admission.turn(draft.hasReserve);
    if (turn !== undefined) await turn;
    if (!draft.hasReserve) this.#admission.check();
    return this.#enqueue(draft);
  }

  async #enqueue(draft: Draft): Promise<TrackedChunk> {
    const { ids, bytes, queue, name } = draft;
    const chunkId = randomUUID();
    const { enqueueTimeoutMs } = this.#config;
    const end = new Deadline(enqueueTimeoutMs);
    const deadline = new Deadline(enqueueTimeoutMs - Math.min(WITHDRAW_MS, enqueueTimeoutMs / 4));
    const request = this.#admission.request(bytes, draft.hasReserve);
    let chunk: TrackedChunk | undefined;
    let isSent = false;
    let isAdded = false;
    // `whenReady` may ask the server something, and then calls that were made together would not take their stamps in their order. So
    // the first try only waits for the connection.
    let ready = whenConnected;
    for (;;) {
      try {
        await ready(this.#redis, deadline.leftMs);
        const session = this.#replicas?.session ?? 0;
        if (chunk === undefined) {
          // Replicas that are behind now may not have the write in time: the call would fail although the write is applied. So it fails
          // before anything is noted.
          if (this.#replicas?.isBehind === true) await this.#replicas.confirm(session, deadline);
          const stamping = takeStamps(this.#redis, this.#keys, chunkId, draft.cover ?? ids, request);
          const { first, epoch, waiting } = await deadline.within(stamping);
          this.#watch.told(waiting);
          chunk = new TrackedChunk(chunkId, first, ids.length, epoch, this.#workers);
          this.#tracker.add(chunk);
        } else if (isAdded) {
          await deadline.within(this.#checkInFlight(chunk));
        }
        // If the process was paused, the chunk's note may have been swept, and its job would be refused as late.
        if (deadline.isOver) throw new Error('the process was held up');
        isSent = true;
        await deadline.within(
          queue.add(name, draft.dataAt(chunk.first), { ...WRITE_JOB_OPTIONS, jobId: chunkId }),
        );
        isAdded = true;
        await this.#replicas?.confirm(session, deadline);
        return chunk;
      } catch (error) {
        if (error instanceof PartitionsError) throw error;
        if (!deadline.isOver && mayYetSucceed(error)) {
          await pause(20);
          ready = whenReady;
          continue;
        }
        if (isAdded || error instanceof ReplicasBehind) {
          // A worker may have the job by now, so it is not taken back.
          if (chunk !== undefined) this.#tracker.remove(chunk);
          throw refusal(error, enqueueTimeoutMs, isAdded ? 'unknown' : false);
        }
        const full = this.#refusalOfStamps(error, chunk);
        if (full !== undefined) throw full;
        const doubtful = { queue: queue.name, chunkId, epoch: chunk?.epoch ?? '', ids };
        const fate = await this.#withdraw(doubtful, end);
        // After an error reply the job may be stored and stand in no list, where no worker finds it: that is not accepted.
        const isAccepted = fate === 'accepted' && this.#replicas === undefined && mayYetSucceed(error);
        if (chunk !== undefined && isSent && isAccepted) return chunk;
        if (chunk !== undefined) this.#tracker.remove(chunk);
        throw redisFailure(error) === 'memory' && fate === 'withdrawn'
          ? this.#admission.outOfMemory(error)
          : refusal(error, enqueueTimeoutMs, isSent && fate !== 'withdrawn' ? 'unknown' : false);
      }
    }
  }

  /**
   * For a chunk whose job Redis has taken before a cut. A replica that was promoted may lack its note; adding the job there would
   * bring it behind range deletes that did not wait for it.
   */
  async #checkInFlight({ chunkId, epoch }: TrackedChunk): Promise<void> {
    const { states } = await chunkStates(this.#redis, this.#keys, epoch, [chunkId]);
    if (states[0]?.state !== 'inflight') throw new NotInFlight();
  }

  /** The error of a chunk of which nothing was noted, because the queue or Redis is full; undefined for other errors. */
  #refusalOfStamps(error: unknown, chunk: TrackedChunk | undefined): BackpressureError | undefined {
    if (error instanceof StampsRefused) {
      this.#watch.told(error.waiting);
      return this.#admission.refused(error.waiting);
    }
    return chunk === undefined && redisFailure(error) === 'memory'
      ? this.#admission.outOfMemory(error)
      : undefined;
  }

  /** Takes back the notes of a chunk that was perhaps not queued, and finds out whether it was. */
  async #withdraw(chunk: DoubtfulChunk, end: Deadline): Promise<'withdrawn' | 'accepted' | 'unknown'> {
    try {
      await whenReady(this.#redis, end.leftMs);
      const fate = await end.within(withdrawChunk(this.#redis, this.#keys, chunk));
      if (fate === 'withdrawn') return 'withdrawn';
      return fate === 'lost' ? 'unknown' : 'accepted';
    } catch {
      // Redis does not answer. Maintenance will sweep the notes.
      return 'unknown';
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#adding);
    this.#watch.close();
    await Promise.all([this.#writes.close(), this.#ranges.close()]);
  }
}

/** A chunk settled, or was lost in a failover, before its replicas were known to have it. */
class NotInFlight extends Error {
  constructor() {
    super('the connection was cut, and the write is no longer in the queue');
  }
}

/** A chunk that has no stamps yet. */
interface Draft {
  /** Empty for a range delete. */
  readonly ids: readonly string[];
  readonly cover?: Cover;
  readonly bytes: number;
  readonly hasReserve: boolean;
  readonly queue: Queue;
  readonly name: string;
  readonly dataAt: (first: Stamp) => object;
}

function refusal(cause: unknown, timeoutMs: number, accepted: false | 'unknown'): QueueUnavailableError {
  const consequence =
    accepted === false
      ? 'It was not accepted; try again.'
      : 'Whether it was accepted is unknown: read the item, or make the same call again.';
  return new QueueUnavailableError(
    `Redis did not take the write within ${timeoutMs} ms: ${messageOf(cause)}. ${consequence}`,
    { cause, accepted },
  );
}

/** Whether another try may succeed. An error reply (out of memory, read-only replica) would be the same a moment later. */
function mayYetSucceed(error: unknown): boolean {
  return !(error instanceof StampsRefused || error instanceof NotInFlight) && !isReply(error);
}
