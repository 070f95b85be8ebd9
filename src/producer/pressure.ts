import type { Waiting, WaitingLimits } from '../redis/backlog.ts';
import type { Pressure } from '../types.ts';

/** From this ratio on, submits are delayed. */
export const WARN_RATIO = 0.7;
/** From this ratio on, submits are refused. */
export const FULL_RATIO = 1;
/** Deletes and new states are refused only here: they are small, and often what makes room again. */
export const RESERVE_RATIO = 1.2;

/** How full the queue is. @param ageMs how long ago it was so. */
export function pressureOf(waiting: Waiting, limits: WaitingLimits, ageMs = 0): Pressure {
  const ratio = Math.max(
    waiting.items / limits.maxWaitingItems,
    waiting.bytes / limits.maxWaitingBytes,
    waiting.memoryShare / limits.maxMemoryShare,
  );
  return {
    level: ratio >= FULL_RATIO ? 'critical' : ratio >= WARN_RATIO ? 'warn' : 'normal',
    ratio,
    waitingItems: waiting.items,
    waitingBytes: waiting.bytes,
    memoryShare: waiting.memoryShare,
    oldestMs: waiting.oldestMs,
    ageMs,
  };
}
