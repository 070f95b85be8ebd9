import { within } from './abortable.ts';

/**
 * When the phases of a stop end, as shares of `shutdownMs` from its beginning: `retries` of work in hand (it then goes back
 * to the queue), `work` in hand, BullMQ's `workers`, and closing `connections`. The rest is for the probes. The process ends
 * at 0.95 (`runProcess`).
 */
const SHARES = { retries: 0.5, work: 0.6, workers: 0.7, connections: 0.8 } as const;

/** The clock of one stop. Work that is late in its phase goes on, and nobody waits for it while the next phase begins. */
export class StopPhases {
  readonly #startedAt = performance.now();
  readonly #shutdownMs: number;

  constructor(shutdownMs: number) {
    this.#shutdownMs = shutdownMs;
  }

  /** Milliseconds until a phase ends; 0 when it has. */
  left(phase: keyof typeof SHARES): number {
    return Math.max(0, this.#startedAt + this.#shutdownMs * SHARES[phase] - performance.now());
  }

  /** Whether `work` ended within its phase. @throws what it throws */
  within(phase: keyof typeof SHARES, work: Promise<unknown>): Promise<boolean> {
    return within(
      this.left(phase),
      work.then(() => true),
      () => false,
    );
  }
}
