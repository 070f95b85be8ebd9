/** A server that went silent keeps its connections open: a page that waits for it would never come. */
const PATIENCE_MS = 3000;

/** @throws what `work` throws, or that there was no answer in time */
export async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${PATIENCE_MS / 1000} s`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
    // The loser of the race may still reject; what happened was told.
    work.catch(() => undefined);
  }
}
