/**
 * A stamp is a point of the deployment's one clock, in microseconds since 1970. Redis gives it out as
 * `max(last + 1, TIME)`, so it never repeats or runs back while Redis keeps its data, and stays below 2^53 until 2255.
 */
export type Stamp = number;

/** Most items of a chunk, whose stamps follow each other. */
export const MAX_CHUNK_ITEMS = 5000;

/** The register was never written. */
export const UNWRITTEN: Stamp = 0;

export function stampToMs(stamp: Stamp): number {
  return Math.floor(stamp / 1000);
}
