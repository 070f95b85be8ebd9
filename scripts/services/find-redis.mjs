import { askVersion, findExecutables } from './binaries.mjs';
import { refusal } from './minimum.mjs';

const usualPlaces = [
  '/usr/bin',
  '/usr/local/bin',
  '/opt/homebrew/bin',
  '/opt/homebrew/opt/redis/bin',
  '/opt/homebrew/opt/valkey/bin',
  '/opt/local/bin',
  '/home/linuxbrew/.linuxbrew/bin',
];

/** The first Redis or Valkey that is new enough, and why the ones before it were refused. */
export function findRedis(places = usualPlaces) {
  const refused = [];
  for (const path of ['redis-server', 'valkey-server'].flatMap((name) => findExecutables(name, places))) {
    const answer = askVersion(path);
    if (answer === undefined) continue;
    const product = /valkey/i.test(answer.text) ? 'Valkey' : 'Redis';
    const reason = refusal({ product, version: answer.version, place: path });
    if (reason === undefined) return { found: { path, product, version: answer.version }, refused };
    refused.push(reason);
  }
  return { found: undefined, refused };
}
