/**
 * Shares of `shutdownMs` at which the phases of a stop end, counted from its beginning: `retries` of work in hand (it then
 * goes back to the queue), `work` in hand, BullMQ's `workers`, and closing `connections`. What is left is for the probes; the
 * process itself ends at 0.95 (`runProcess`).
 */
const SHARES = { retries: 0.5, work: 0.6, workers: 0.7, connections: 0.8 } as const;

/** The clock of one stop. What is late in its phase goes on, unwatched, while the next phase begins. */
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
  async within(phase: keyof typeof SHARES, work: Promise<unknown>): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), this.left(phase));
    });
    try {
      return await Promise.race([work.then(() => true), late]);
    } finally {
      clearTimeout(timer);
      // Nobody waits for it any more.
      work.catch(() => undefined);
    }
  }
}
