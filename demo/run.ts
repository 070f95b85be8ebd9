import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { messageOf } from '../src/errors.ts';
import { CITY_COUNT } from './cities.ts';
import { LOCK_MS } from './crash.ts';
import { createDeployment } from './deployment.ts';
import { tour } from './tour.ts';
import { type StartGuarded, Workers } from './workers.ts';

export const HELP = `Usage: npm run demo -- [options]

Sends real records through the whole system, kills a worker half way, and checks every count.

  --items N   only the first N records, 1 to ${CITY_COUNT} (default: all)
  --keep      leave services and workers up after the report, until Ctrl-C
  --help      this text

Uses the servers of REDIS_URL and DATABASE_URL when set (in a database and a key
namespace of its own, removed at the end), else private ones.`;

export interface DemoOptions {
  /** How many records, from the first. */
  readonly items: number;
  /** Leaves services and workers up after the report. */
  readonly keep: boolean;
  readonly help: boolean;
}

/** @throws Error that says which option cannot be used. */
export function parseOptions(args: readonly string[]): DemoOptions {
  const { values } = parseArgs({
    args: [...args],
    options: { items: { type: 'string' }, keep: { type: 'boolean' }, help: { type: 'boolean' } },
  });
  const items = Number(values.items ?? CITY_COUNT);
  if (!Number.isInteger(items) || items < 1 || items > CITY_COUNT) {
    throw new Error(`--items must be a whole number from 1 to ${CITY_COUNT}, not '${values.items}'`);
  }
  return { items, keep: values.keep ?? false, help: values.help ?? false };
}

export interface DemoParts {
  readonly options: DemoOptions;
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly startGuarded: StartGuarded;
  /** Aborts on Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Runs the demo on running servers. Returns the exit code: 0 only if everything was exact. */
export async function runDemo(parts: DemoParts): Promise<number> {
  const { options, redisUrl, databaseUrl, startGuarded, signal } = parts;
  const deployment = await createDeployment(redisUrl, databaseUrl);
  const env = { ...process.env, ...deployment.env, TIERLINE_CHUNK_LOCK_MS: String(LOCK_MS) };
  const workers = new Workers(startGuarded, env);
  const stop = AbortSignal.any([signal, workers.failed]);
  let code = 1;
  try {
    code = (await tour({ items: options.items, deployment, workers, signal: stop })) ? 0 : 1;
    if (options.keep) await keepRunning(deployment.env, stop);
  } catch (error) {
    // What was waited for says only that it was aborted.
    const why: unknown = workers.failed.aborted ? workers.failed.reason : error;
    console.log(signal.aborted ? 'interrupted' : `\nThe demo failed: ${messageOf(why)}`);
    // What shells give a program that Ctrl-C ended.
    code = signal.aborted ? 130 : 1;
  }
  await workers.stop();
  if (code === 1) console.log(`The workers' logs: ${workers.logFile}`);
  else workers.removeLog();
  await deployment.remove();
  return code;
}

async function keepRunning(env: Readonly<Record<string, string>>, stop: AbortSignal): Promise<void> {
  console.log('\nServices and workers stay up until Ctrl-C:');
  for (const [name, value] of Object.entries(env)) console.log(`  ${name}=${value}`);
  // A signal alone does not keep the process alive.
  const alive = setInterval(() => undefined, 60_000);
  if (!stop.aborted) await once(stop, 'abort');
  clearInterval(alive);
}
