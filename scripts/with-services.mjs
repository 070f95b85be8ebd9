// node scripts/with-services.mjs [--cache] -- <command…>: runs a command with a Redis and a Postgres, and with --cache a second
// Redis for L2. It ends as the command ends. With --redis-cluster, also behind the command, or TEST_REDIS_CLUSTER=1, a Redis of our
// own is a cluster of three masters.
import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onInterruption } from './interruption.mjs';
import { startGuarded } from './services/guarded.mjs';
import { startServices } from './services/start-services.mjs';

const separator = process.argv.indexOf('--');
const clusterFlag = '--redis-cluster';
const flags = process.argv.slice(2, separator);
const [command, ...args] = process.argv.slice(separator + 1).filter((arg) => arg !== clusterFlag);
const redisCluster = process.argv.includes(clusterFlag) || process.env.TEST_REDIS_CLUSTER === '1';
if (
  separator < 0 ||
  command === undefined ||
  flags.some((flag) => !['--cache', clusterFlag].includes(flag))
) {
  console.error('Usage: node scripts/with-services.mjs [--cache] [--redis-cluster] -- <command…>');
  process.exit(2);
}

try {
  const services = await startServices(say, { withCache: flags.includes('--cache'), redisCluster });
  try {
    process.exitCode = await run(services.env);
  } finally {
    await services.stop();
  }
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}

function run(urls) {
  const bin = fileURLToPath(new URL('../node_modules/.bin', import.meta.url));
  const env = { ...process.env, ...urls, PATH: `${bin}${delimiter}${process.env.PATH}` };
  const child = startGuarded({ command, args }, { env, stdio: ['inherit', 'inherit', 'inherit'] });
  onInterruption((name) => {
    // A terminal has sent Ctrl-C to the command already, and a second one may mean "at once".
    if (name !== 'SIGINT' || !process.stdin.isTTY) child.signal(name);
  });
  return child.ended;
}

function say(line) {
  process.stderr.write(`services: ${line}\n`);
}
