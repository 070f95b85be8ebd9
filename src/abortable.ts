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

/** As `abortable`, for what has to be closed when it opens after the caller was freed. */
export async function abortableOpen<T extends { close(): Promise<void> }>(
  open: () => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  signal?.throwIfAborted();
  const opening = open();
  const closeLate = async () => {
    const opened = await opening;
    if (signal?.aborted === true) await opened.close();
  };
  if (signal !== undefined) closeLate().catch(() => undefined);
  return abortable(opening, signal);
}
