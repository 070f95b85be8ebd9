import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import pg from 'pg';
import { eventually } from './eventually.ts';
import { freePort } from './free-port.ts';

/** A Postgres of the test's own. */
export interface PostgresServer {
  /** URL of a database on it. */
  urlOf(database: string): string;
  /** Runs one statement in the database `postgres`. */
  query<R extends object>(statement: string): Promise<R[]>;
  /** SIGKILL. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** A server that streams from another. */
export interface Replica extends PostgresServer {
  /** Holds replay: WAL is received and not applied. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Ends recovery: it is a primary of its own from now on. */
  promote(): Promise<void>;
  /** Streams from another server from now on, whose history must begin with what this one has replayed. */
  follow(other: PostgresServer): Promise<void>;
  /** Resolves when it has replayed everything that the primary had written when this was called. */
  caughtUp(): Promise<void>;
}

/** A primary and replicas that stream from it, on free ports, all on data of their own. */
export interface Replication {
  readonly primary: PostgresServer;
  readonly replicas: readonly Replica[];
  close(): Promise<void>;
}

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  wal_level: 'replica',
  hot_standby: 'on',
  max_wal_senders: '8',
  max_connections: '100',
  shared_buffers: '32MB',
  wal_keep_size: '256MB',
  // A paused replica must keep what its readers read.
  max_standby_streaming_delay: '-1',
};

export async function startReplication(replicaCount = 1): Promise<Replication> {
  const owner = serverUser();
  const folder = await mkdtemp(join(tmpdir(), 'tierline-test-postgres-'));
  if (owner !== undefined) await chown(folder, owner.uid, owner.gid);
  const run = (name: string, args: readonly string[]) =>
    execFileSync(program(name), args, { ...owner, cwd: folder, stdio: 'pipe' });
  const servers: { server: PostgresServer; kill(): Promise<void> }[] = [];

  async function serve(data: string): Promise<PostgresServer> {
    const port = await freePort();
    let child: ChildProcess | undefined;
    const urlOf = (database: string) => `postgres://tierline@127.0.0.1:${port}/${database}`;
    const options = Object.entries(SETTINGS).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const server: PostgresServer = {
      urlOf,
      async query<R extends object>(statement: string) {
        const client = new pg.Client({ connectionString: urlOf('postgres') });
        client.on('error', () => undefined);
        await client.connect();
        try {
          return (await client.query<R>(statement)).rows;
        } finally {
          await client.end();
        }
      },
      async kill() {
        if (child === undefined || child.exitCode !== null) return;
        const ended = once(child, 'exit');
        child.kill('SIGKILL');
        await ended;
        child = undefined;
      },
      async start() {
        await eventually(
          () => {
            // After a kill it refuses to start until the last process of the killed one has ended.
            if (child === undefined || child.exitCode !== null) {
              child = spawn(program('postgres'), ['-D', data, '-p', `${port}`, ...options], {
                ...owner,
                cwd: folder,
                stdio: 'ignore',
              });
            }
            return isUp(server);
          },
          'Postgres answers',
          30_000,
        );
      },
    };
    servers.push({ server, kill: () => server.kill() });
    await server.start();
    return server;
  }

  const data = join(folder, 'primary');
  run('initdb', ['-D', data, '-U', 'tierline', '--auth=trust', '-E', 'UTF8', '--locale=C', '--no-sync']);
  const primary = await serve(data);
  const replicas: Replica[] = [];
  for (let i = 0; i < replicaCount; i++) {
    const copy = join(folder, `replica-${i}`);
    run('pg_basebackup', ['-d', primary.urlOf('postgres'), '-D', copy, '-R', '-c', 'fast', '--no-sync']);
    replicas.push(asReplica(await serve(copy), primary));
  }
  return {
    primary,
    replicas,
    async close() {
      for (const { kill } of servers) await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function asReplica(server: PostgresServer, primary: PostgresServer): Replica {
  return {
    ...server,
    async pause() {
      await server.query('SELECT pg_wal_replay_pause()');
      await eventually(async () => {
        const [row] = await server.query<{ state: string }>(
          'SELECT pg_get_wal_replay_pause_state() AS state',
        );
        return row?.state === 'paused';
      }, 'replay is paused');
    },
    async resume() {
      await server.query('SELECT pg_wal_replay_resume()');
    },
    async promote() {
      await server.query('SELECT pg_promote()');
    },
    async follow(other) {
      const { hostname, port, username } = new URL(other.urlOf('postgres'));
      await server.query(
        `ALTER SYSTEM SET primary_conninfo = 'host=${hostname} port=${port} user=${username}'`,
      );
      await server.query('SELECT pg_reload_conf()');
    },
    async caughtUp() {
      const [row] = await primary.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn()::text AS lsn');
      await eventually(async () => {
        const [at] = await server.query<{ there: boolean }>(
          `SELECT pg_last_wal_replay_lsn() >= '${row?.lsn}'::pg_lsn AS there`,
        );
        return at?.there === true;
      }, 'the replica has caught up');
    },
  };
}

async function isUp(server: PostgresServer): Promise<boolean> {
  return server.query('SELECT 1').then(
    () => true,
    () => false,
  );
}

function program(name: string): string {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).toSorted((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...versions.map((version) => join(debian, version, 'bin')),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ];
  const found = folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`${name} is not installed: apt-get install -y postgresql`);
  return found;
}

/** Postgres refuses to run as root. */
function serverUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const line = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
  if (line === null) throw new Error('Postgres cannot run as root, and there is no user postgres');
  return { uid: Number(line[1]), gid: Number(line[2]) };
}
