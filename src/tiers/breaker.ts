import { TierlineError } from '../errors.ts';

type BreakerState = 'closed' | 'open' | 'half-open';

/** What may move a breaker: a call's end, the failure that fills the count, or `cooldownMs` having passed. */
type BreakerEvent = 'succeeded' | 'failed' | 'tripped' | 'cooled';

/** Every state answers every event, so the compiler finds the case nobody thought of. */
const TRANSITIONS: Record<BreakerState, Record<BreakerEvent, BreakerState>> = {
  closed: { succeeded: 'closed', failed: 'closed', tripped: 'open', cooled: 'closed' },
  open: { succeeded: 'open', failed: 'open', tripped: 'open', cooled: 'half-open' },
  'half-open': { succeeded: 'closed', failed: 'open', tripped: 'open', cooled: 'half-open' },
};

export interface BreakerOptions {
  /** Failures in a row, without a success between them, that open the breaker. Minimum 1. */
  failureThreshold: number;
  /** Milliseconds for which an open breaker rejects before it lets a probe through, and after which an unanswered probe is followed by another. Minimum 1. */
  cooldownMs: number;
  /** Milliseconds from any start, never going back. @default performance.now */
  now?: () => number;
}

/**
 * `Breaker.run` did not call the backend, because it has failed too often of late. The call had no effect: answer from
 * another tier, tell the caller, or try again after `retryInMs`. `cause` is the failure that opened the breaker.
 */
export class BreakerOpenError extends TierlineError {
  readonly code = 'ERR_BREAKER_OPEN';
  /** Milliseconds until a probe may go through. */
  readonly retryInMs: number;

  constructor(retryInMs: number, cause: unknown) {
    super(`The backend failed repeatedly and is not asked now. Try again in ${Math.ceil(retryInMs)} ms.`, {
      cause,
    });
    this.retryInMs = retryInMs;
  }
}

/**
 * Circuit breaker (Nygard, "Release It!"): spares a failing backend its load, and its callers the wait.
 *
 * - **closed**: calls go through. `failureThreshold` failures in a row open it; a success starts the count anew.
 * - **open**: calls are rejected at once, for `cooldownMs`. Then it is half-open.
 * - **half-open**: one call goes through as a probe, the others are rejected. The probe's success closes the breaker, its
 *   failure opens it again. When a probe has not answered after `cooldownMs`, another may go, because one that hangs would
 *   shut the backend out for good; either answer counts.
 *
 * A call that began in an earlier state counts for nothing when it ends: the late answer of a call sent before the outage
 * is no news of the backend now.
 */
export class Breaker {
  readonly #failureThreshold: number;
  readonly #cooldownMs: number;
  readonly #now: () => number;
  #state: BreakerState = 'closed';
  /** Counts the changes of state; a call remembers the era it began in. */
  #era = 0;
  #failures = 0;
  #openedAt = 0;
  /** When the last probe left; -Infinity while none is on its way. */
  #probeSentAt = Number.NEGATIVE_INFINITY;
  #lastFailure: unknown;

  /** @throws RangeError when an option is below its minimum or not a number. */
  constructor(options: BreakerOptions) {
    const { failureThreshold, cooldownMs, now = () => performance.now() } = options;
    if (!(failureThreshold >= 1)) throw new RangeError(`failureThreshold is ${failureThreshold}, below 1`);
    if (!(cooldownMs >= 1)) throw new RangeError(`cooldownMs is ${cooldownMs}, below 1`);
    this.#failureThreshold = failureThreshold;
    this.#cooldownMs = cooldownMs;
    this.#now = now;
  }

  /**
   * Calls `fn` and settles as it does.
   * @throws BreakerOpenError, and `fn` is not called, while open or while another call probes.
   */
  async run<T>(fn: () => Promise<T>): Promise<T> {
    this.#admit();
    const era = this.#era;
    try {
      const result = await fn();
      this.#settle(era, 'succeeded');
      return result;
    } catch (error) {
      this.#settle(era, 'failed', error);
      throw error;
    }
  }

  #admit(): void {
    if (this.#state === 'closed') return;
    const now = this.#now();
    if (this.#state === 'open' && now - this.#openedAt >= this.#cooldownMs) this.#apply('cooled');
    const waitMs = this.#cooldownMs - (now - (this.#state === 'open' ? this.#openedAt : this.#probeSentAt));
    if (waitMs > 0) throw new BreakerOpenError(waitMs, this.#lastFailure);
    this.#probeSentAt = now;
  }

  #settle(era: number, event: 'succeeded' | 'failed', error?: unknown): void {
    if (era !== this.#era) return;
    if (event === 'failed') {
      this.#failures++;
      this.#lastFailure = error;
    } else {
      this.#failures = 0;
    }
    this.#apply(this.#failures >= this.#failureThreshold ? 'tripped' : event);
  }

  #apply(event: BreakerEvent): void {
    const next = TRANSITIONS[this.#state][event];
    if (next === this.#state) return;
    this.#state = next;
    this.#era++;
    this.#failures = 0;
    this.#probeSentAt = Number.NEGATIVE_INFINITY;
    if (next === 'open') this.#openedAt = this.#now();
  }
}
