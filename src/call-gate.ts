import { abortable } from './abortable.ts';
import { ClosedError, TierUnavailableError } from './errors.ts';

interface Cancellable {
  readonly signal?: AbortSignal | undefined;
}

/** Decides whether a public call may begin: not after `close()`, and not with an aborted signal. */
export class CallGate {
  readonly #owner: 'producer' | 'reader' | 'store';
  #closed = false;

  constructor(owner: 'producer' | 'reader' | 'store') {
    this.#owner = owner;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
  }

  #refuseWhenClosed(): void {
    if (this.#closed) throw this.#refusal();
  }

  /** The options of a call that may begin. @throws ClosedError, InvalidItemError, or the signal's reason */
  admit<O extends Cancellable>(read: (options: unknown) => O, options: unknown): O {
    this.#refuseWhenClosed();
    const admitted = read(options);
    admitted.signal?.throwIfAborted();
    return admitted;
  }

  /** One call from its options to its answer. @throws as `admit`, and what `work` throws */
  async call<O extends Cancellable, T>(
    read: (options: unknown) => O,
    options: unknown,
    work: (options: O) => Promise<T>,
  ): Promise<T> {
    const admitted = this.admit(read, options);
    return this.run(admitted.signal, () => work(admitted));
  }

  /** Runs a part of a call that has begun. */
  async run<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    this.#refuseWhenClosed();
    signal?.throwIfAborted();
    try {
      return await abortable(work(), signal);
    } catch (error) {
      throw this.reasonFor(error);
    }
  }

  /** After `close()` a backend is unavailable because it was closed here, so the error says that. */
  reasonFor(error: unknown): unknown {
    return this.#closed && error instanceof TierUnavailableError ? this.#refusal(error) : error;
  }

  #refusal(cause?: Error): ClosedError {
    return new ClosedError(`The ${this.#owner} is closed. Open a new one.`, { cause });
  }
}
