import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { eventually } from './eventually.ts';
import { freePort } from './free-port.ts';

/** A PgBouncer of the test's own. */
export interface PgBouncer {
  /** The same database through the pooler. */
  urlOf(databaseUrl: string): string;
  close(): Promise<void>;
}

/**
 * PgBouncer before the Postgres of `serverUrl`, with two server connections a database: fewer than its clients have, so that
 * they take turns.
 * @param given settings over its defaults, as in pgbouncer.ini
 */
export async function startPgBouncer(
  serverUrl: string,
  given: Readonly<Record<string, string | number>> = {},
): Promise<PgBouncer> {
  const program = programPath();
  const server = new URL(serverUrl);
  const folder = await mkdtemp(join(tmpdir(), 'tierline-test-pgbouncer-'));
  const port = await freePort();
  const users = join(folder, 'users.txt');
  const settings = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    auth_type: 'trust',
    auth_file: users,
    // Roles that tests create.
    auth_user: decodeURIComponent(server.username),
    auth_query: 'SELECT usename, passwd FROM pg_shadow WHERE usename = $1',
    pool_mode: 'transaction',
    default_pool_size: 2,
    // Its default is 15 s, in which nobody is served after Postgres was away.
    server_login_retry: 1,
    ...given,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
  const target = `host=${server.hostname} port=${server.port || 5432}`;
  const ini = join(folder, 'pgbouncer.ini');
  await writeFile(ini, `[databases]\n* = ${target}\n[pgbouncer]\n${lines.join('\n')}\n`);
  await writeFile(
    users,
    `"${decodeURIComponent(server.username)}" "${decodeURIComponent(server.password)}"\n`,
  );
  const owner = serverUser();
  if (owner !== undefined) {
    for (const path of [folder, ini, users]) await chown(path, owner.uid, owner.gid);
  }
  const child = spawn(program, [ini], { ...owner, stdio: 'ignore' });
  const ended = once(child, 'exit');
  await eventually(() => isListening(port), 'PgBouncer listens');
  return {
    urlOf(databaseUrl) {
      const url = new URL(databaseUrl);
      url.hostname = '127.0.0.1';
      url.port = `${port}`;
      return url.href;
    },
    async close() {
      child.kill('SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Debian keeps it where only root looks. */
function programPath(): string {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/opt/homebrew/bin'];
  const path = folders.map((folder) => join(folder, 'pgbouncer')).find((place) => existsSync(place));
  if (path === undefined) throw new Error('pgbouncer is not installed: apt-get install -y pgbouncer');
  return path;
}

/** PgBouncer refuses to be root. */
function serverUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const line = /^nobody:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
  if (line === null) throw new Error('PgBouncer cannot run as root, and there is no user nobody');
  return { uid: Number(line[1]), gid: Number(line[2]) };
}

async function isListening(port: number): Promise<boolean> {
  const socket = net.connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
