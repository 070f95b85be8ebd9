// Runs before every command that needs the built program: installs and builds, but only what is out of date.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dependenciesAreInstalled } from './dependencies.mjs';
import { fingerprint } from './fingerprint.mjs';
import { withLock } from './lock.mjs';
import { npm } from './npm.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const stamp = join(root, 'dist/.built');

try {
  await withLock(root, say, () => {
    if (!dependenciesAreInstalled(root)) install();
    if (!isBuilt()) build();
  });
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}

function install() {
  const command = existsSync(join(root, 'package-lock.json')) ? 'ci' : 'install';
  say(`installing dependencies (npm ${command})`);
  // The compiler and the test runner are development dependencies, whatever NODE_ENV says.
  npm([command, '--include=dev'], { cwd: root });
}

function isBuilt() {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === fingerprint(root);
}

function build() {
  say('building');
  // Taken before the build, so that a file saved meanwhile counts as changed.
  const inputs = fingerprint(root);
  // What a removed source left behind must not run, tests above all.
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  npm(['run', 'build'], { cwd: root });
  writeFileSync(stamp, inputs);
}

function say(line) {
  process.stderr.write(`prepare: ${line}\n`);
}
