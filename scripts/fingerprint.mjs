import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const inputs = [
  'src',
  'workers',
  'migrations',
  'test',
  'bench',
  'demo',
  'examples',
  'scripts',
  'knexfile.ts',
  'tsconfig.json',
  'package.json',
];

/** Stands for the names, sizes and times of everything the build reads; a removed file changes it too. */
export function fingerprint(root) {
  const hash = createHash('sha256');
  for (const input of inputs) add(input);
  return hash.digest('hex');

  function add(path) {
    const stats = statSync(join(root, path), { throwIfNoEntry: false });
    if (stats === undefined) return;
    if (stats.isDirectory()) {
      for (const entry of readdirSync(join(root, path)).toSorted()) add(join(path, entry));
    } else {
      hash.update(`${path}\0${stats.size}\0${stats.mtimeMs}\n`);
    }
  }
}
