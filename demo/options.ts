import { parseArgs } from 'node:util';
import { CITY_COUNT } from './cities.ts';

export interface DemoOptions {
  /** How many records, from the first. */
  readonly items: number;
  /** Leaves services and workers up after the report. */
  readonly keep: boolean;
  readonly help: boolean;
}

export const HELP = `Usage: npm run demo -- [options]

Sends real records through the whole system, kills a worker half way, and checks every count.

  --items N   only the first N records, 1 to ${CITY_COUNT} (default: all)
  --keep      leave services and workers up after the report, until Ctrl-C
  --help      this text

Uses the servers of REDIS_URL and DATABASE_URL when set (in a database and a key
namespace of its own, removed at the end), else private ones.`;

/** @throws Error that says which option cannot be used. */
export function parseOptions(args: readonly string[]): DemoOptions {
  const { values } = parseArgs({
    args: [...args],
    options: { items: { type: 'string' }, keep: { type: 'boolean' }, help: { type: 'boolean' } },
  });
  const items = values.items ?? String(CITY_COUNT);
  if (!/^\d+$/.test(items) || Number(items) < 1 || Number(items) > CITY_COUNT) {
    throw new Error(`--items must be a whole number from 1 to ${CITY_COUNT}, not '${items}'`);
  }
  return { items: Number(items), keep: values.keep ?? false, help: values.help ?? false };
}
