// npm start, below with-services.mjs: the whole system on one machine, as the Procfile describes it, until Ctrl-C. With --dev
// (npm run dev) a change below src is built, every process starts again on it, and each takes a debugger on a port of its own.
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, watch } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { prettyFactory } from 'pino-pretty';
import { onInterruption } from './interruption.mjs';
import { startGuarded } from './services/guarded.mjs';

const dev = process.argv.includes('--dev');
// Two, to show that the drain scales by adding workers.
const instances = { worker: dev ? 1 : 2 };
const runner = fileURLToPath(new URL('../node_modules/.bin/concurrently', import.meta.url));
const pretty = prettyFactory({ colorize: process.stdout.isTTY, ignore: 'pid,hostname' });
const { env } = process;

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const procfile = [...readFileSync('Procfile', 'utf8').matchAll(/^([\w-]+):[ \t]*(\S.*)$/gm)];
const lines = procfile.map(([, name, command]) => ({ name, command }));
const releases = lines.filter(({ name }) => name === 'release');
const processes = lines
  .filter((line) => !releases.includes(line))
  .flatMap((line) => Array.from({ length: instances[line.name] ?? 1 }, () => line))
  .map(untilStopped);

let running;
let interrupted = false;
onInterruption(() => {
  interrupted = true;
  void running?.stop();
});
await addPassword();
await addToken();
process.exitCode = await run(releases);
if (process.exitCode === 0 && !interrupted) {
  for (const name of ['REDIS_URL', 'CACHE_REDIS_URL', 'DATABASE_URL', 'TIERLINE_SHARDS']) {
    if (env[name]) console.log(`${name}=${env[name]}`);
  }
  if (dev) buildOnChange();
  process.exitCode = await run(processes);
}

function buildOnChange() {
  let timer;
  watch('src', { recursive: true, persistent: false }, () => {
    clearTimeout(timer);
    timer = setTimeout(spawnSync, 100, 'npm', ['run', '--silent', 'build'], { stdio: 'inherit' });
  });
}

/** Starts a command again when it fails. Not concurrently's own restarts: they go on after it was told to stop. */
function untilStopped({ name, command }, i) {
  const flags = `--watch-path=dist/src --enable-source-maps --inspect=127.0.0.1:${9229 + i}`;
  const line = dev ? command.replace(/^node/, `node ${flags}`) : command;
  return { name, command: `trap stopped=1 TERM INT; until ${line} || [ "$stopped" ]; do sleep 2; done` };
}

/** Runs lines of the Procfile until they have ended; their logs are lines of JSON behind the name of their process. */
async function run(group) {
  const names = group.map(({ name }) => name).join();
  const commands = group.map(({ command }) => command);
  const args = ['--prefix=name', '--pad-prefix', `--names=${names}`, ...commands];
  const options = { env, stdio: ['ignore', 'pipe', 'inherit'], detached: true };
  running = startGuarded({ command: runner, args }, options);
  createInterface({ input: running.stdout }).on('line', (line) => {
    const at = line.indexOf('{"');
    process.stdout.write(at < 0 ? `${line}\n` : line.slice(0, at) + pretty(line.slice(at)));
  });
  const code = await running.ended;
  return interrupted ? 0 : code;
}

/** The dashboard refuses to run without credentials: this run gets a password of its own. */
async function addPassword() {
  if (env.TIERLINE_DASHBOARD_PASSWORD_HASH || env.TIERLINE_DASHBOARD_TOKEN) return;
  const { hashPassword } = await import('../dist/src/password-hash.js');
  const password = randomBytes(9).toString('base64url');
  const { TIERLINE_DASHBOARD_HOST: host = '127.0.0.1', TIERLINE_DASHBOARD_PORT: port = 3000 } = env;
  console.log(`dashboard: http://${host}:${port}, password ${password} (of this run)`);
  env.TIERLINE_DASHBOARD_PASSWORD_HASH = await hashPassword(password);
}

/** Nor does the gateway start without a token. */
async function addToken() {
  if (env.TIERLINE_GATEWAY_TOKENS) return;
  const { hashToken, makeToken } = await import('../dist/src/gateway/tokens.js');
  const token = makeToken();
  const { TIERLINE_GATEWAY_HOST: host = '127.0.0.1', TIERLINE_GATEWAY_PORT: port = 8080 } = env;
  console.log(`gateway: http://${host}:${port}/docs, token ${token} (of this run)`);
  env.TIERLINE_GATEWAY_TOKENS = `start:read+write+peer:${hashToken(token)}`;
}
