import type { Pressure } from '../types.ts';

const WARN_RATIO = 0.7;

/** How full the queue is. @param maxWaitingItems the limit at which it counts as full. */
export function pressureOf(waitingItems: number, oldestMs: number, maxWaitingItems: number): Pressure {
  const ratio = waitingItems / maxWaitingItems;
  const level = ratio >= 1 ? 'critical' : ratio >= WARN_RATIO ? 'warn' : 'normal';
  return { level, ratio, waitingItems, oldestMs };
}
