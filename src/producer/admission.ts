import { pause, within } from '../abortable.ts';
import type { Config } from '../config.ts';
import { BackpressureError, type ReachedLimit } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import { NOTHING_WAITS, type Waiting, type WaitingLimits, waitingNow } from '../redis/backlog.ts';
import type { Admission as AdmissionRequest } from '../redis/chunk-notes.ts';
import type { Redis } from '../redis/client.ts';
import type { Pressure } from '../types/write.ts';
import type { ProducerObserver } from './producer-observer.ts';

/** Mean delay of a submit when the queue is nearly full. */
const FULL_DELAY_MS = 200;
/** Pause before Redis is asked again after it refused a chunk: between this and twice this. */
const RETRY_MS = 200;

/**
 * Keeps the queue bounded (I10). Redis decides in the script that gives the stamps, so all processes see one queue and none
 * starves: whoever asks while there is room gets it. The producer delays submits as the queue fills up, which makes refusals
 * rare. After a refusal it refuses submits itself for a moment, so that a flood costs Redis nothing.
 */
export class Admission {
  readonly #config: Config;
  readonly #observer: ProducerObserver;
  readonly #pressure: () => Pressure;
  #closedUntil = 0;
  #reached: ReachedLimit | undefined;
  #releaseAt = 0;
  /** Chunks that wait for their turn, and the promise of the last of them. */
  #queued = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(config: Config, observer: ProducerObserver, pressure: () => Pressure) {
    this.#config = config;
    this.#observer = observer;
    this.#pressure = pressure;
  }

  /** @throws BackpressureError when Redis refused a submit a moment ago. It asks nobody, so a flood of calls costs little. */
  check(): void {
    const leftMs = this.#closedUntil - performance.now();
    if (leftMs > 0 && this.#reached !== undefined) {
      throw new BackpressureError(this.#reached, Math.ceil(leftMs + Math.random() * RETRY_MS));
    }
  }

  /**
   * Resolves when a chunk may go on; undefined when it may at once. Chunks go on in the order in which they came, so that the
   * writes of an id stay in order. A chunk without a delay of its own waits for those before it.
   */
  turn(hasReserve: boolean): Promise<void> | undefined {
    const delayMs = hasReserve || !this.#config.admission ? 0 : this.#delayMs();
    if (delayMs === 0 && this.#queued === 0) return undefined;
    const releaseAt = Math.max(this.#releaseAt, performance.now() + delayMs);
    this.#releaseAt = releaseAt;
    this.#queued++;
    this.#last = this.#release(this.#last, releaseAt);
    return this.#last;
  }

  async #release(before: Promise<void>, at: number): Promise<void> {
    const started = performance.now();
    await before;
    const waitMs = at - performance.now();
    if (waitMs > 0) await pause(waitMs);
    // Count down later, so that a chunk that comes just now does not overtake this one.
    setImmediate(() => this.#queued--);
    this.#observer.chunkDelayed(performance.now() - started);
  }

  /** What a chunk of so many bytes asks Redis for. */
  request(bytes: number, hasReserve: boolean): AdmissionRequest {
    const refusedFrom = hasReserve ? RESERVE_RATIO : FULL_RATIO;
    return { bytes, refusedFrom: this.#config.admission ? refusedFrom : 0, limits: this.#config };
  }

  /** Redis refused a chunk: submits are refused here for a moment. */
  refused(waiting: Waiting): BackpressureError {
    return this.#close(reachedBy(waiting, this.#config));
  }

  /** Redis is at its `maxmemory`. */
  outOfMemory(cause: unknown): BackpressureError {
    return this.#close({ of: 'memory', max: 1, measured: 1 }, cause);
  }

  #close(reached: ReachedLimit, cause?: unknown): BackpressureError {
    const retryAfterMs = Math.ceil(RETRY_MS * (1 + Math.random()));
    this.#reached = reached;
    this.#closedUntil = performance.now() + retryAfterMs;
    return new BackpressureError(reached, retryAfterMs, cause === undefined ? {} : { cause });
  }

  #delayMs(): number {
    const { ratio } = this.#pressure();
    const fullness = Math.min(1, (ratio - WARN_RATIO) / (FULL_RATIO - WARN_RATIO));
    return fullness < 0 ? 0 : FULL_DELAY_MS * fullness * (0.5 + Math.random());
  }
}

function reachedBy(waiting: Waiting, limits: Config): ReachedLimit {
  const { ratio } = pressureOf(waiting, limits);
  const { maxWaitingItems, maxWaitingBytes, maxMemoryShare } = limits;
  if (waiting.items / maxWaitingItems === ratio)
    return { of: 'items', max: maxWaitingItems, measured: waiting.items };
  if (waiting.bytes / maxWaitingBytes === ratio)
    return { of: 'bytes', max: maxWaitingBytes, measured: waiting.bytes };
  return { of: 'memory', max: maxMemoryShare, measured: waiting.memoryShare };
}

/** From this ratio on, submits are delayed. */
export const WARN_RATIO = 0.7;
/** From this ratio on, submits are refused. */
export const FULL_RATIO = 1;
/** Deletes and new states are refused only from this ratio on. They are small, and deletes often make room. */
export const RESERVE_RATIO = 1.2;

/** How full the queue is. @param ageMs how long ago it was so. */
export function pressureOf(waiting: Waiting, limits: WaitingLimits, ageMs = 0): Pressure {
  const ratio = Math.max(
    waiting.items / limits.maxWaitingItems,
    waiting.bytes / limits.maxWaitingBytes,
    waiting.memoryShare / limits.maxMemoryShare,
  );
  return {
    level: ratio >= FULL_RATIO ? 'critical' : ratio >= WARN_RATIO ? 'warn' : 'normal',
    ratio,
    waitingItems: waiting.items,
    waitingBytes: waiting.bytes,
    memoryShare: waiting.memoryShare,
    oldestMs: waiting.oldestMs,
    ageMs,
  };
}

/** Of a queue in several lanes: as full as its fullest lane, since each has its share of the limits. */
export function pressureOfAll(lanes: readonly Pressure[]): Pressure {
  const [first, ...others] = lanes as [Pressure, ...Pressure[]];
  if (others.length === 0) return first;
  const most = (figure: (lane: Pressure) => number) => Math.max(...lanes.map(figure));
  const sum = (figure: (lane: Pressure) => number) => lanes.reduce((total, lane) => total + figure(lane), 0);
  const level = (['critical', 'warn'] as const).find((one) => lanes.some((lane) => lane.level === one));
  return {
    level: level ?? 'normal',
    ratio: most(({ ratio }) => ratio),
    waitingItems: sum(({ waitingItems }) => waitingItems),
    waitingBytes: sum(({ waitingBytes }) => waitingBytes),
    memoryShare: most(({ memoryShare }) => memoryShare),
    oldestMs: most(({ oldestMs }) => oldestMs),
    ageMs: most(({ ageMs }) => ageMs),
  };
}

/** The limits of one lane of several. */
export function limitsOfLane(limits: WaitingLimits, lanes: number): WaitingLimits {
  const { maxWaitingItems, maxWaitingBytes, maxMemoryShare } = limits;
  return {
    maxWaitingItems: Math.ceil(maxWaitingItems / lanes),
    maxWaitingBytes: Math.ceil(maxWaitingBytes / lanes),
    maxMemoryShare,
  };
}

const LOOK_EVERY_MS = 250;
const LOOK_TIMEOUT_MS = 1000;
/** How long Redis is asked about an empty queue after the last call, because other processes may fill it. */
const INTEREST_MS = 60_000;

/**
 * Knows what waits in the queue, fresh enough for a synchronous answer. Redis tells it with each stamp. Between stamps a timer
 * asks, from a write or a call of `pressure` on until the queue is empty and nobody has called for a minute.
 */
export class PressureWatch {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #limits: WaitingLimits;
  readonly #log: Logger;
  #waiting: Waiting = NOTHING_WAITS;
  #toldAt = Number.NEGATIVE_INFINITY;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** The last look got no answer. */
  #failing = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(redis: Redis, keys: Keys, limits: WaitingLimits, log: Logger) {
    this.#redis = redis;
    this.#keys = keys;
    this.#limits = limits;
    this.#log = log;
  }

  /** As of the last answer of Redis. `critical` while Redis does not answer, because it then accepts no submit. */
  get pressure(): Pressure {
    this.#askedAt = performance.now();
    this.#schedule();
    const pressure = pressureOf(this.#waiting, this.#limits, Math.max(0, this.#askedAt - this.#toldAt));
    return this.#failing ? { ...pressure, level: 'critical' } : pressure;
  }

  /** Takes what Redis told with the answer to a write. */
  told(waiting: Waiting): void {
    this.#waiting = waiting;
    this.#toldAt = performance.now();
    this.#failing = false;
    this.#schedule();
  }

  /** Asks Redis. @throws why it did not answer */
  async look(): Promise<void> {
    const askedAt = performance.now();
    const waiting = await within(LOOK_TIMEOUT_MS, waitingNow(this.#redis, this.#keys));
    // The answer to a write that came meanwhile is newer.
    if (this.#toldAt <= askedAt) this.told(waiting);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#closed || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => void this.#tick(), LOOK_EVERY_MS).unref();
  }

  async #tick(): Promise<void> {
    try {
      // While the process writes, each answer of Redis tells it.
      if (performance.now() - this.#toldAt >= LOOK_EVERY_MS) await this.look();
    } catch (error) {
      if (!this.#failing) this.#log.debug({ err: error }, 'what waits in the queue could not be asked');
      this.#failing = true;
    }
    this.#timer = undefined;
    const isEmpty = this.#waiting.items === 0 && this.#waiting.bytes === 0 && !this.#failing;
    if (!isEmpty || performance.now() - this.#askedAt < INTEREST_MS) this.#schedule();
  }
}
