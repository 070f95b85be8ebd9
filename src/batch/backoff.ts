import { pause } from '../abortable.ts';

const FIRST_DELAY_MS = 50;
const MAX_DELAY_MS = 5000;

/**
 * The pause before attempt `attempt + 1`. It doubles up to a maximum, and half of it is random, so that workers do not retry at
 * the same time.
 */
export function backoffMs(attempt: number): number {
  const ceiling = Math.min(FIRST_DELAY_MS * 2 ** Math.min(attempt, 10), MAX_DELAY_MS);
  return ceiling * (0.5 + Math.random() / 2);
}

export interface RetryOptions {
  /** Ends the retries; the last error is thrown. */
  readonly signal: AbortSignal;
  /** Whether another attempt may succeed after this error. */
  readonly isTransient: (error: unknown) => boolean;
  readonly onRetry: (error: unknown, attempt: number, delayMs: number) => void;
}

/** Runs idempotent work until it succeeds, fails for good, or the signal is aborted. */
export async function retrying<T>(work: () => Promise<T>, options: RetryOptions): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (options.signal.aborted || !options.isTransient(error)) throw error;
      const delay = backoffMs(attempt);
      options.onRetry(error, attempt + 1, delay);
      await pause(delay, { signal: options.signal });
    }
  }
}
