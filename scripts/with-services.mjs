// node scripts/with-services.mjs [options] -- <command…>: runs a command with a Redis and a Postgres, and ends as it ends. Options,
// which may also stand behind the command, so that `npm start -- --shards 2` reaches them:
//   --cache           a second Redis, for L2
//   --redis-cluster   a Redis of our own is a cluster of three masters with a replica each; also TEST_REDIS_CLUSTER=1
//   --shards <n>      so many Postgres servers of our own, in TIERLINE_SHARDS; also TEST_SHARDS=<n>
//   --partitions <n>  TIERLINE_PARTITIONS=<n>
import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onInterruption } from './interruption.mjs';
import { startGuarded } from './services/guarded.mjs';
import { startServices } from './services/start-services.mjs';

const { TEST_REDIS_CLUSTER, TEST_SHARDS } = process.env;
const words = process.argv
  .slice(2)
  .flatMap((word) => word.match(/^(--shards|--partitions)=(.*)/)?.slice(1) ?? word);
const withCache = taken('--cache', 1).length > 0;
const redisCluster = taken('--redis-cluster', 1).length > 0 || TEST_REDIS_CLUSTER === '1';
const [, shards = TEST_SHARDS ?? '1'] = taken('--shards', 2);
const [, partitions] = taken('--partitions', 2);
const [separator, command, ...args] = words;
if (separator !== '--' || command === undefined || !/^[1-9]$/.test(shards)) {
  console.error(
    'Usage: node scripts/with-services.mjs [--cache] [--redis-cluster] [--shards 1-9] [--partitions n] -- <command…>',
  );
  process.exit(2);
}

try {
  const services = await startServices(say, { withCache, redisCluster, shards: Number(shards) });
  try {
    process.exitCode = await run({ ...services.env, ...(partitions && { TIERLINE_PARTITIONS: partitions }) });
  } finally {
    await services.stop();
  }
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}

/** Takes an option out of the words, with its value when it is two words long. */
function taken(option, length) {
  const at = words.indexOf(option);
  return at < 0 ? [] : words.splice(at, length);
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
