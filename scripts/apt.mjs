import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Whether packages may be installed without asking anybody: as root on Debian or Ubuntu. */
export function canInstall() {
  return process.getuid?.() === 0 && existsSync('/etc/debian_version');
}

/** Installs Debian packages. Services that they may start are left alone. Returns whether it worked. */
export function aptInstall(packages, log) {
  const steps = [
    ['update', '-qq'],
    ['install', '-y', '-qq', '--no-install-recommends', ...packages],
  ];
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
