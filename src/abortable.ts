import { setMaxListeners } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { ConfigError, messageOf } from './errors.ts';
import type { CallOptions } from './types/call.ts';

/** In milliseconds. Node fires a longer timer after 1 ms. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Resolves after `ms`, or as soon as the signal is aborted. `ref: false` lets the process end meanwhile. */
export async function pause(
  ms: number,
  { signal, ref = true }: { signal?: AbortSignal | undefined; ref?: boolean } = {},
): Promise<void> {
  await setTimeout(ms, undefined, { signal, ref }).catch(() => undefined);
}

/** Rejects with the signal's reason once it is aborted. The work goes on, because others may wait for it too. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  // Thousands of calls may wait with one signal: from the eleventh on Node would warn of a leak.
  setMaxListeners(0, signal);
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/**
 * Waits for `work` at most `ms`, and then for what `late` gives. The work goes on; its result is ignored.
 * @param late the default throws that there was no answer in time
 * @throws what `work` throws within `ms`, and what `late` throws
 */
export function within<T, L = never>(
  ms: number,
  work: Promise<T>,
  late: () => L | PromiseLike<L> = () => noAnswer(ms),
): Promise<T | L> {
  return new Promise((resolve, reject) => {
    const answerLate = () => void new Promise<L>((give) => give(late())).then(resolve, reject);
    const timer = globalThis.setTimeout(answerLate, Math.max(1, ms));
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function noAnswer(ms: number): never {
  throw new Error(`no answer within ${Math.max(1, Math.round(ms))} ms`);
}

/** A moment by which something has to be done. */
export class Deadline {
  readonly #at: number;

  /** @param ms from now */
  constructor(ms: number) {
    this.#at = performance.now() + ms;
  }

  /** Milliseconds until then. At least 1: for many drivers 0 means no limit. */
  get leftMs(): number {
    return Math.max(1, this.#at - performance.now());
  }

  get isOver(): boolean {
    return performance.now() >= this.#at;
  }

  /** @throws what `work` throws, or that it did not answer in time */
  within<T>(work: Promise<T>): Promise<T> {
    return within(this.leftMs, work);
  }
}

/**
 * Opens something with options that hold a signal. Once the signal is aborted the caller is free, and what opens
 * after that is closed again. Each option is read once.
 * @throws ConfigError when the options are no object, cannot be read, or their signal is no AbortSignal
 */
export async function abortableOpen<O extends CallOptions, T extends { close(): Promise<void> }>(
  options: O | undefined,
  open: (overrides: Omit<O, 'signal'>) => Promise<T>,
): Promise<T> {
  const { signal, ...overrides } = readOptions(options);
  signal?.throwIfAborted();
  const opening = open(overrides);
  const closeLate = async () => {
    const opened = await opening;
    if (signal?.aborted === true) await opened.close();
  };
  if (signal !== undefined) closeLate().catch(() => undefined);
  return abortable(opening, signal);
}

function readOptions<O extends CallOptions>(options: O | undefined): O {
  if (options === undefined) return {} as O;
  if (typeof options !== 'object' || options === null) {
    throw new ConfigError('Configuration cannot be used. The options must be an object.');
  }
  let read: O;
  try {
    read = { ...options };
  } catch (cause) {
    const why = messageOf(cause);
    throw new ConfigError(`Configuration cannot be used. The options cannot be read: ${why}`, { cause });
  }
  if (read.signal === undefined || read.signal instanceof AbortSignal) return read;
  throw new ConfigError('Configuration cannot be used. signal: must be an AbortSignal.');
}
