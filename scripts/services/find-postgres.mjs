import { join } from 'node:path';
import { askVersion, findExecutables, homeOf, isExecutable } from './binaries.mjs';
import { refusal } from './minimum.mjs';
import { compareVersions } from './version.mjs';

const usualPlaces = [
  '/usr/lib/postgresql/*/bin',
  '/usr/libexec/postgresql*',
  '/usr/pgsql-*/bin',
  '/usr/local/pgsql/bin',
  '/usr/local/opt/postgresql@*/bin',
  '/opt/homebrew/opt/postgresql@*/bin',
  '/opt/local/lib/postgresql*/bin',
  '/Applications/Postgres.app/Contents/Versions/*/bin',
  '/usr/bin',
  '/usr/local/bin',
  '/opt/homebrew/bin',
  '/home/linuxbrew/.linuxbrew/bin',
];

/** The newest Postgres that is new enough, and why others were refused. */
export function findPostgres(places = usualPlaces) {
  const refused = [];
  const usable = [];
  for (const path of findExecutables('postgres', places)) {
    const candidate = postgresIn(homeOf(path));
    if (candidate === undefined) continue;
    const reason = refusal({ product: 'Postgres', version: candidate.version, place: path });
    if (reason === undefined) usable.push(candidate);
    else refused.push(reason);
  }
  usable.sort((a, b) => compareVersions(b.version, a.version));
  return { found: usable[0], refused };
}

/** The Postgres in a folder: it counts only with the initdb of the same installation. */
export function postgresIn(folder) {
  const postgres = join(folder, 'postgres');
  const initdb = join(folder, 'initdb');
  if (!isExecutable(postgres) || !isExecutable(initdb)) return undefined;
  const answer = askVersion(postgres);
  return answer && { postgres, initdb, version: answer.version };
}
