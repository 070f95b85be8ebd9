import type { NewItem } from '../src/types.ts';
import { cityId, type City } from './cities.ts';

/** The writes of the demo, fixed by each record's place, so that two runs write the same. */
export interface Changes {
  readonly first: readonly NewItem[];
  /** Every tenth record with other content; of these every third with a state. */
  readonly updates: readonly NewItem[];
  /** Every hundredth record; all of them were updated before, some with a state. */
  readonly deletes: readonly string[];
  /** Every fifth of the deleted ones, with its first content. */
  readonly again: readonly NewItem[];
}

export function changesFor(cities: readonly City[]): Changes {
  const first = cities.map((city) => ({ id: cityId(city), content: city }));
  const every = (step: number, offset: number): number[] =>
    cities.flatMap((_, i) => (i % step === offset ? [i] : []));
  const updates = every(10, 0).map((i) => {
    const city = cities[i] as City;
    const item = { id: cityId(city), content: { ...city, population: city.population + 1 } };
    return i % 30 === 0 ? { ...item, state: 'reviewed' } : item;
  });
  return {
    first,
    updates,
    deletes: every(100, 10).map((i) => cityId(cities[i] as City)),
    again: every(500, 10).map((i) => first[i] as NewItem),
  };
}
