import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Whether node_modules is what package-lock.json asks for. Compared by content (npm leaves a copy of the lock in
 * node_modules), because file times say nothing after a checkout.
 */
export function dependenciesAreInstalled(root) {
  const installed = packagesIn(join(root, 'node_modules/.package-lock.json'));
  if (installed === undefined) return false;
  const wanted = packagesIn(join(root, 'package-lock.json')) ?? {};
  return Object.entries(wanted).every(([path, { version, optional, peer }]) => {
    if (path === '') return true;
    // Packages for other platforms are in the lock, but not on the disk.
    if (installed[path] === undefined) return optional === true || peer === true;
    return installed[path].version === version;
  });
}

function packagesIn(lockFile) {
  return existsSync(lockFile) ? JSON.parse(readFileSync(lockFile, 'utf8')).packages : undefined;
}
