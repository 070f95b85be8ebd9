import { once } from 'node:events';
import { Command, InvalidArgumentError } from 'commander';
import { messageOf } from '../src/errors.ts';
import { CITY_COUNT } from './cities.ts';
import { LOCK_MS } from './crash.ts';
import { openDeployment } from './deployment.ts';
import { Model } from './model.ts';
import { Report } from './report.ts';
import { tour } from './tour.ts';
import { Workers } from './workers.ts';

/** What another process needs to join the deployment. */
const NAMED = ['REDIS_URL', 'CACHE_REDIS_URL', 'DATABASE_URL', 'TIERLINE_SHARDS', 'TIERLINE_NAMESPACE'];

const program = new Command('npm run demo --')
  .description(
    `Sends real records through the whole system, kills a worker half way, and checks every count.
Uses the servers of REDIS_URL and DATABASE_URL when set (in a database and a key namespace of its
own, removed at the end), else private ones.`,
  )
  .option('--items <number>', `only the first records, 1 to ${CITY_COUNT}`, itemsOf, CITY_COUNT)
  .option('--keep', 'leave services and workers up after the report, until Ctrl-C', false)
  .addHelpText(
    'after',
    `
Options for private servers:
  --redis-cluster      Redis is a cluster of three masters with a replica each
  --shards <number>    so many Postgres servers
  --partitions <number>`,
  )
  .action(async ({ items, keep }: { items: number; keep: boolean }) => {
    const interruption = new AbortController();
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => interruption.abort());
    process.exitCode = await runDemo(items, keep, interruption.signal);
  });

function itemsOf(text: string): number {
  const items = Number(text);
  if (Number.isInteger(items) && items >= 1 && items <= CITY_COUNT) return items;
  throw new InvalidArgumentError(`It is a whole number from 1 to ${CITY_COUNT}.`);
}

/** Runs the demo on running servers. Returns the exit code: 0 only if everything was exact. */
async function runDemo(items: number, keep: boolean, signal: AbortSignal): Promise<number> {
  const deployment = await openDeployment();
  const workers = new Workers({ ...process.env, ...deployment.env, TIERLINE_CHUNK_LOCK_MS: `${LOCK_MS}` });
  const stop = AbortSignal.any([signal, workers.failed]);
  const scene = { deployment, model: new Model(), report: new Report(), signal: stop };
  let code = 1;
  try {
    code = (await tour(items, scene, workers)) ? 0 : 1;
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
  await deployment.close();
  return code;
}

async function keepRunning(env: NodeJS.ProcessEnv, stop: AbortSignal): Promise<void> {
  console.log('\nServices and workers stay up until Ctrl-C:');
  for (const name of NAMED) if (env[name] !== undefined) console.log(`  ${name}=${env[name]}`);
  // A signal alone does not keep the process alive.
  const alive = setInterval(() => undefined, 60_000);
  if (!stop.aborted) await once(stop, 'abort');
  clearInterval(alive);
}

await program.parseAsync();
