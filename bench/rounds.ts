/** The middle of what several rounds measured, and the least and the most of them. */
export interface Figure {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

const ROUNDS = 5;

/**
 * Runs what is to be compared in turns, five rounds after one that does not count, and returns what each round measured.
 * The machine is not as fast from one minute to the next, so compare within a round (`figure`), never across them. Every
 * other round runs backwards: nobody always follows the same neighbour.
 */
export async function inRounds<R extends object>(
  measures: { readonly [K in keyof R]: () => Promise<R[K]> },
  rounds = ROUNDS,
): Promise<R[]> {
  const names = Object.keys(measures) as (keyof R)[];
  const measured: R[] = [];
  for (let round = 0; round <= rounds; round++) {
    const results = {} as R;
    for (const name of round % 2 === 0 ? names : names.toReversed()) results[name] = await measures[name]();
    // The first compiles and fills caches.
    if (round > 0) measured.push(results);
  }
  return measured;
}

/** One value a round, such as a ratio of two of its measurements, as a figure over all rounds. */
export function figure<R>(rounds: readonly R[], valueOf: (round: R) => number): Figure {
  const values = rounds.map(valueOf).toSorted((a, b) => a - b);
  const half = (values.length - 1) / 2;
  const at = (i: number) => values[i] ?? Number.NaN;
  return {
    median: (at(Math.floor(half)) + at(Math.ceil(half))) / 2,
    low: at(0),
    high: at(values.length - 1),
  };
}
