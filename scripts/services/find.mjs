import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * Programs called one of `names`, on PATH or in `folders`, that run on this system and are new enough: `path`, the `text` that
 * they print of their version, and `version`.
 */
export function findPrograms(names, folders, oldest) {
  const places = [...process.env.PATH.split(delimiter), ...folders];
  const paths = names.flatMap((name) => places.map((folder) => join(folder, name)).filter(existsSync));
  return paths
    .flatMap(asked)
    .filter(({ text, version }) => /valkey/i.test(text) || compareVersions(version, oldest) >= 0);
}

export function compareVersions(a, b) {
  return a.localeCompare(b, 'en', { numeric: true });
}

function asked(path) {
  try {
    const text = execFileSync(path, ['--version'], { encoding: 'utf8', timeout: 10_000, stdio: 'pipe' });
    return [{ path, text, version: /\d+(\.\d+)*/.exec(text)[0] }];
  } catch {
    // Made for another system, or not a program at all.
    return [];
  }
}

/** What to do when there is no usable server: commands to paste. */
export function adviceFor(server, apt, brew) {
  return `No usable ${server} was found. Install it, then run the same command again:
  apt-get install -y ${apt}   |   brew install ${brew}
Or use servers that run already: docker compose up -d --wait, then set
  REDIS_URL=redis://127.0.0.1:6379 DATABASE_URL=postgres://tierline:tierline@127.0.0.1:5432/tierline`;
}
