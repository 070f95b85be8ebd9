import { ConfigError, messageOf } from './errors.ts';
import type { CallOptions } from './types.ts';

/** Frees the caller when the signal says so; the work, which others may share, goes on. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/**
 * As `abortable`, for what has to be closed when it opens after the caller was freed. Each option is read once.
 * @throws ConfigError when the options are no object, cannot be read, or their signal is none
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
