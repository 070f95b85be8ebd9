import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * Installs Debian packages for programs that are not on PATH, as root on Debian or Ubuntu; elsewhere it does nothing, and what
 * needs the program says how to get it.
 * @param programs package by program
 * @param say told beforehand what is going to be installed
 */
export function installMissing(programs, say) {
  const packages = Object.entries(programs).flatMap(([program, name]) => (isOnPath(program) ? [] : [name]));
  if (packages.length === 0 || process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) return;
  say(`installing system packages with apt-get: ${packages.join(', ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    execFileSync('apt-get', ['update', '-qq'], { env, stdio: 'pipe' });
    const install = ['install', '-y', '-qq', '--no-install-recommends', ...packages];
    execFileSync('apt-get', install, { env, stdio: 'pipe' });
  } catch (error) {
    say(`apt-get failed: ${(error.stderr?.toString() || error.message).trim()}`);
  }
}

function isOnPath(program) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}
