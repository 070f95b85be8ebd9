import { within } from '../abortable.ts';
import type { Keys } from '../keys.ts';
import type { Logger } from '../log.ts';
import type { Redis } from '../redis/connect.ts';
import { NOTHING_WAITS, type Waiting, type WaitingLimits, waitingNow } from '../redis/backlog.ts';
import type { Pressure } from '../types.ts';
import { pressureOf } from './pressure.ts';

const LOOK_EVERY_MS = 250;
const LOOK_TIMEOUT_MS = 1000;
/** An empty queue is looked at for so long after the last call: others may fill it. */
const INTEREST_MS = 60_000;

/**
 * What waits in the queue, fresh enough for a synchronous question. Each stamp tells it; between them a timer asks Redis, from
 * a write or a question on until the queue is empty and nobody has asked for a minute.
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

  /** As of the last answer of Redis; while there is none `critical`, because no submit can be accepted. */
  get pressure(): Pressure {
    this.#askedAt = performance.now();
    this.#schedule();
    const pressure = pressureOf(this.#waiting, this.#limits, Math.max(0, this.#askedAt - this.#toldAt));
    return this.#failing ? { ...pressure, level: 'critical' } : pressure;
  }

  /** Redis has told it with the answer to a write. */
  told(waiting: Waiting): void {
    this.#waiting = waiting;
    this.#toldAt = performance.now();
    this.#failing = false;
    this.#schedule();
  }

  /** Asks Redis. @throws why it did not answer */
  async look(): Promise<void> {
    const waiting = await within(LOOK_TIMEOUT_MS, waitingNow(this.#redis, this.#keys));
    this.told(waiting);
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
      // While the process writes, each answer tells.
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
