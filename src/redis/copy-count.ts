import { pause } from '../abortable.ts';
import { type Keys, parseCopyKey } from '../keys.ts';
import type { Redis } from './connect.ts';

const SCAN_COUNT = 4000;
/** Pause between two SCANs of 4,000 keys (one to two milliseconds of Redis each), so that counting leaves Redis most of its time. */
const PAUSE_MS = 5;

/**
 * Counts the L2 copies by walking the keys: Redis has no counter of keys with a prefix, and its DBSIZE counts the queue
 * too. Copies of other generations, which nobody reads, are left out. Copies that come or go meanwhile may be missed, so the figure is a close estimate.
 */
export async function countCopies(
  redis: Redis,
  keys: Keys,
  generation: string,
  signal: AbortSignal,
): Promise<number> {
  let count = 0;
  let cursor = '0';
  do {
    signal.throwIfAborted();
    const [next, found] = await redis.scan(
      cursor,
      'MATCH',
      `${escapeGlob(keys.itemPrefix)}*`,
      'COUNT',
      SCAN_COUNT,
    );
    count += found.filter((key) => parseCopyKey(keys, key)?.generation === generation).length;
    cursor = next;
    if (cursor !== '0') await pause(PAUSE_MS, { signal });
  } while (cursor !== '0');
  return count;
}

export function escapeGlob(text: string): string {
  return text.replace(/[\\*?[\]^-]/g, '\\$&');
}
