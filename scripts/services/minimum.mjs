import { compareVersions } from './version.mjs';

const minimum = { Redis: '6.2', Postgres: '14' };
const needed = {
  Redis: `Redis ${minimum.Redis} or newer (or Valkey)`,
  Postgres: `Postgres ${minimum.Postgres} or newer`,
};

/** Why this server cannot be used, or undefined. Every Valkey is new enough: it began after Redis 7.2. */
export function refusal({ product, version, place }) {
  if (!(product in minimum) || compareVersions(version, minimum[product]) >= 0) return undefined;
  return `${product} ${version} at ${place} is too old; Tierline needs ${needed[product]}`;
}
