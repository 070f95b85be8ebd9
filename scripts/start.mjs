// npm start: the whole system on one machine, as the Procfile describes it, until Ctrl-C.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { prettyFactory } from 'pino-pretty';
import { onInterruption } from './interruption.mjs';
import { startGuarded } from './services/guarded.mjs';
import { startServices } from './services/start-services.mjs';

// Two, to show that the drain scales by adding workers.
const instances = { worker: 2 };
const runner = fileURLToPath(new URL('../node_modules/.bin/concurrently', import.meta.url));
const pretty = prettyFactory({ colorize: process.stdout.isTTY, ignore: 'pid,hostname' });

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const procfile = [...readFileSync('Procfile', 'utf8').matchAll(/^([\w-]+):[ \t]*(\S.*)$/gm)];
const lines = procfile.map(([, name, command]) => ({ name, command }));
const releases = lines.filter(({ name }) => name === 'release');
const processes = lines
  .filter((line) => !releases.includes(line))
  .flatMap(({ name, command }) =>
    Array.from({ length: instances[name] ?? 1 }, () => ({ name, command: untilStopped(command) })),
  );

let running;
let interrupted = false;
onInterruption(() => {
  interrupted = true;
  void running?.stop();
});
process.exitCode = await main();

async function main() {
  let services;
  try {
    services = await startServices(say);
    const env = { ...process.env, ...services.env, ...(await dashboardAccess()) };
    const code = await run(releases, env);
    if (code !== 0 || interrupted) return interrupted ? 0 : code;
    for (const name of ['REDIS_URL', 'DATABASE_URL']) say(`${name}=${env[name]}`);
    return await run(processes, env);
  } catch (error) {
    say(error.message);
    return 1;
  } finally {
    await services?.stop();
  }
}

/** Starts a command again when it fails. Not concurrently's own restarts: they go on after it was told to stop. */
function untilStopped(command) {
  return `trap stopped=1 TERM INT; until ${command} || [ "$stopped" ]; do sleep 2; done`;
}

/** Runs lines of the Procfile until they have ended. */
async function run(commands, env) {
  const names = commands.map(({ name }) => name).join();
  const args = ['--prefix=name', '--pad-prefix', `--names=${names}`];
  running = startGuarded(
    { command: runner, args: [...args, ...commands.map(({ command }) => command)] },
    { env, stdio: ['ignore', 'pipe', 'inherit'], detached: true },
  );
  // Logs are lines of JSON behind the name of their process.
  createInterface({ input: running.stdout }).on('line', (line) => {
    const at = line.indexOf('{"');
    process.stdout.write(at < 0 ? `${line}\n` : line.slice(0, at) + pretty(line.slice(at)));
  });
  const code = await running.ended;
  return interrupted ? 0 : code;
}

/** The dashboard refuses to run without credentials: this run gets a password of its own. */
async function dashboardAccess() {
  if (process.env.TIERLINE_DASHBOARD_PASSWORD_HASH || process.env.TIERLINE_DASHBOARD_TOKEN) return {};
  const { hashPassword } = await import('../dist/src/dashboard/password.js');
  const password = randomBytes(9).toString('base64url');
  const { TIERLINE_DASHBOARD_HOST: host = '127.0.0.1', TIERLINE_DASHBOARD_PORT: port = 3000 } = process.env;
  say(`dashboard: http://${host}:${port}, password ${password} (of this run)`);
  return { TIERLINE_DASHBOARD_PASSWORD_HASH: await hashPassword(password) };
}

function say(line) {
  process.stdout.write(`[tierline] ${line}\n`);
}
