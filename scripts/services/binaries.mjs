import { execFileSync } from 'node:child_process';
import { accessSync, constants, readdirSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { versionIn } from './version.mjs';

/** Paths of the executables called `name`: those on PATH first, each file only once. */
export function findExecutables(name, places) {
  const folders = [...(process.env.PATH ?? '').split(delimiter).filter(Boolean), ...places.flatMap(expand)];
  const found = new Map();
  for (const folder of folders) {
    const path = join(folder, name);
    if (!isExecutable(path)) continue;
    const file = realpathSync(path);
    if (!found.has(file)) found.set(file, path);
  }
  return [...found.values()];
}

export function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What `<path> --version` says, or undefined when the file cannot be run on this system. */
export function askVersion(path) {
  try {
    const text = execFileSync(path, ['--version'], { encoding: 'utf8', timeout: 10_000, stdio: 'pipe' });
    const version = versionIn(text);
    return version === undefined ? undefined : { text, version };
  } catch {
    return undefined;
  }
}

/** Resolves the one `*` a place may have, because Node 20 has no glob. */
function expand(place) {
  const segments = place.split('/');
  const wild = segments.findIndex((segment) => segment.includes('*'));
  if (wild === -1) return [place];
  const parent = segments.slice(0, wild).join('/');
  const [start, end] = segments[wild].split('*');
  try {
    return readdirSync(parent)
      .filter((entry) => entry.startsWith(start) && entry.endsWith(end))
      .map((entry) => join(parent, entry, ...segments.slice(wild + 1)));
  } catch {
    return [];
  }
}

/** The folder a program really lives in: packages often link it from elsewhere. */
export function homeOf(path) {
  return dirname(realpathSync(path));
}
