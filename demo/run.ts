import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { messageOf } from '../src/errors.ts';
import { CITY_COUNT } from './cities.ts';
import { LOCK_MS } from './crash.ts';
import { createDeployment } from './deployment.ts';
import { tour } from './tour.ts';
import { Workers } from './workers.ts';

const HELP = `Usage: npm run demo -- [options]

Sends real records through the whole system, kills a worker half way, and checks every count.

  --items N   only the first N records, 1 to ${CITY_COUNT} (default: all)
  --keep      leave services and workers up after the report, until Ctrl-C
  --help      this text

Uses the servers of REDIS_URL and DATABASE_URL when set (in a database and a key
namespace of its own, removed at the end), else private ones.`;

interface DemoOptions {
  /** How many records, from the first. */
  readonly items: number;
  /** Leaves services and workers up after the report. */
  readonly keep: boolean;
  readonly help: boolean;
}

/** @throws Error that says which option cannot be used. */
function parseOptions(args: readonly string[]): DemoOptions {
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

/** Runs the demo on running servers. Returns the exit code: 0 only if everything was exact. */
async function runDemo({ items, keep }: DemoOptions, signal: AbortSignal): Promise<number> {
  const deployment = await createDeployment();
  const workers = new Workers({
    ...process.env,
    ...deployment.env,
    TIERLINE_CHUNK_LOCK_MS: String(LOCK_MS),
  });
  const stop = AbortSignal.any([signal, workers.failed]);
  let code = 1;
  try {
    code = (await tour({ items, deployment, workers, signal: stop })) ? 0 : 1;
    if (keep) await keepRunning(deployment.env, stop);
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

async function main(): Promise<number> {
  let options: DemoOptions;
  try {
    options = parseOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`${messageOf(error)}\n\n${HELP}`);
    return 2;
  }
  if (options.help) {
    console.log(HELP);
    return 0;
  }
  const interruption = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => interruption.abort());
  return runDemo(options, interruption.signal);
}

process.exitCode = await main();
