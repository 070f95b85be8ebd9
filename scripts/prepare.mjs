// Runs before every command that needs the built program: installs dependencies when npm says that some are missing, and
// builds. With `--tools` it first sees to the Debian packages that tests need, and says so before anything else.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { installMissing } from './apt.mjs';

const cwd = fileURLToPath(new URL('..', import.meta.url));
const say = (line) => process.stderr.write(`prepare: ${line}\n`);

if (process.argv.includes('--tools')) {
  const packages = {
    'redis-server': 'redis-server',
    pgbouncer: 'pgbouncer',
    pg_basebackup: 'postgresql',
    chromium: 'chromium',
    promtool: 'prometheus',
  };
  installMissing(packages, say);
}
if (npm(['ls', '--all', '--include=dev'], 'ignore') !== 0) {
  say('installing dependencies (npm ci)');
  // The compiler and the test runner are development dependencies, whatever NODE_ENV says.
  npm(['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'], ['ignore', 'ignore', 2]);
}
process.exitCode = npm(['run', '--silent', 'build'], ['ignore', 2, 2]);

function npm(args, stdio) {
  return spawnSync('npm', args, { cwd, stdio }).status ?? 1;
}
