import { pause } from '../abortable.ts';
import type { Config } from '../config.ts';
import { BackpressureError, type ReachedLimit } from '../errors.ts';
import type { Admission as AdmissionRequest } from '../redis/chunk-notes.ts';
import type { Waiting } from '../redis/backlog.ts';
import type { Pressure } from '../types.ts';
import type { ProducerObserver } from './producer-observer.ts';
import { FULL_RATIO, pressureOf, RESERVE_RATIO, WARN_RATIO } from './pressure.ts';

/** Mean delay of a submit when the queue is all but full. */
const FULL_DELAY_MS = 200;
/** Redis is asked again no sooner than this after it refused a chunk, and at most twice as late. */
const RETRY_MS = 200;

/**
 * Keeps the queue bounded (I10). Redis decides in the script that gives the stamps, so that all processes see one queue and
 * none starves: whoever asks while there is room gets it. This side slows submits down when the queue fills up, so that it
 * seldom comes to a refusal, and after one refuses by itself for a moment, so that a flood costs Redis nothing.
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

  /** @throws BackpressureError when Redis refused a submit a moment ago. Costs nothing: callers may flood. */
  check(): void {
    const leftMs = this.#closedUntil - performance.now();
    if (leftMs > 0 && this.#reached !== undefined) {
      throw new BackpressureError(this.#reached, Math.ceil(leftMs + Math.random() * RETRY_MS));
    }
  }

  /**
   * The turn of a chunk; undefined when it is now. Chunks go on in the order in which they came, so that an id's writes keep
   * theirs; a chunk that is not delayed itself waits for those before it.
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
    // Later, so that a chunk that comes just now does not overtake this one.
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
