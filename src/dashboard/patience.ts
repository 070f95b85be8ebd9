import { within } from '../abortable.ts';

/** A server that went silent keeps its connections open, and a page that waits for it would never come. */
const PATIENCE_MS = 3000;

/** @throws what `work` throws, or that there was no answer in time */
export function inTime<T>(work: Promise<T>): Promise<T> {
  return within(PATIENCE_MS, work);
}
