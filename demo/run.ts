import { messageOf } from '../src/errors.ts';
import { migrate } from '../src/postgres/migrator.ts';
import { Differences } from './differences.ts';
import { openObserver } from './observer.ts';
import type { DemoOptions } from './options.ts';
import { Progress } from './progress.ts';
import { createScratch, removeScratch, type Scratch } from './scratch.ts';
import { tour } from './tour.ts';
import { type StartGuarded, Workers } from './workers.ts';

// What scripts/demo.mjs needs besides.
export { HELP, parseOptions } from './options.ts';

/** BullMQ's lock on a chunk: how long a killed worker's chunks wait. Short, so that the demo is. */
const LOCK_MS = 5000;
/** What shells give a program that Ctrl-C ended. */
const INTERRUPTED = 130;

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
  const { redisUrl, databaseUrl, startGuarded, signal } = parts;
  const progress = new Progress(process.stdout);
  const scratch = await createScratch(redisUrl, databaseUrl);
  const env = { ...process.env, ...environmentOf(scratch), TIERLINE_CHUNK_LOCK_MS: String(LOCK_MS) };
  const workers = new Workers(startGuarded, env);
  let code = 1;
  try {
    const stop = AbortSignal.any([signal, workers.failed]);
    code = conclude(await perform(parts, scratch, workers, progress, stop), progress);
    if (parts.options.keep) await keepRunning(scratch, progress, stop);
  } catch (error) {
    code = signal.aborted ? INTERRUPTED : 1;
    // What was waited for says only that it was aborted.
    const why: unknown = workers.failed.aborted ? workers.failed.reason : error;
    progress.say(signal.aborted ? 'interrupted' : `\nThe demo failed: ${messageOf(why)}`);
  }
  await workers.stop();
  if (code === 1) progress.say(`The workers' logs: ${workers.logFile}`);
  else workers.removeLog();
  await removeScratch(scratch, databaseUrl);
  return code;
}

async function perform(
  { options }: DemoParts,
  scratch: Scratch,
  workers: Workers,
  progress: Progress,
  signal: AbortSignal,
): Promise<Differences> {
  const { items } = options;
  const differences = new Differences();
  await migrate(scratch.databaseUrl);
  signal.throwIfAborted();
  await Promise.all([
    workers.start('maintenance', 'maintenance'),
    workers.start('worker.1', 'drain'),
    workers.start('worker.2', 'drain'),
  ]);
  progress.say('Two drain workers and maintenance are running');
  const observer = await openObserver(scratch);
  try {
    const lockMs = LOCK_MS;
    progress.say(await tour({ items, scratch, observer, workers, differences, progress, lockMs, signal }));
  } finally {
    await observer.close();
  }
  return differences;
}

function conclude(differences: Differences, progress: Progress): number {
  if (differences.count === 0) {
    progress.say('\n  Every count and every item is exact.');
    return 0;
  }
  progress.say(`\n  ${differences.count} differences:`);
  for (const line of differences.lines()) progress.say(`    ${line}`);
  return 1;
}

async function keepRunning(scratch: Scratch, progress: Progress, stop: AbortSignal): Promise<void> {
  progress.say('\nServices and workers stay up until Ctrl-C:');
  for (const [name, value] of Object.entries(environmentOf(scratch))) progress.say(`  ${name}=${value}`);
  // A signal alone does not keep the process alive.
  const alive = setInterval(() => undefined, 60_000);
  if (!stop.aborted) {
    await new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }));
  }
  clearInterval(alive);
}

function environmentOf({ redisUrl, databaseUrl, namespace }: Scratch): Record<string, string> {
  return { REDIS_URL: redisUrl, DATABASE_URL: databaseUrl, TIERLINE_NAMESPACE: namespace };
}
