import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const steps = [
  ['update', '-qq'],
  ['install', '-y', '-qq', '--no-install-recommends', 'redis-server'],
];

/**
 * Installs Redis where that is possible without asking anybody: as root on Debian or Ubuntu. The service the
 * package may start is left alone; ours runs beside it on another port.
 */
export function installRedis(log) {
  if (process.getuid() !== 0 || !existsSync('/etc/debian_version')) return false;
  log('No Redis on this machine: installing it with apt-get');
  try {
    for (const step of steps) {
      execFileSync('apt-get', step, {
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
        stdio: 'pipe',
      });
    }
    return true;
  } catch (error) {
    log(`apt-get failed: ${(error.stderr?.toString() || error.message).trim()}`);
    return false;
  }
}
