import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { existsSync } from 'node:fs';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';

/** What a server of a cluster adds to its port for the port of its bus. */
const BUS_PORT = 10_000;
const MAX_TRIES = 5;

/** A Redis of the test's own, which it may kill. */
export interface RedisServer {
  readonly url: string;
  readonly port: number;
  signal(name: 'SIGSTOP' | 'SIGCONT'): void;
  /** Kills it (SIGKILL). */
  kill(): Promise<void>;
  /** Kills it (SIGKILL) and starts it again on its data; resolves when it answers. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

/**
 * @param given settings over those of a queue's Redis, as in redis.conf
 * @param options `busPort`: it is for a cluster, so the port of its bus must be free too; `sentinelOf`: it is a
 *   Sentinel that watches the master on this port, named `main`
 */
export async function startRedisServer(
  given: Readonly<Record<string, string>> = {},
  { busPort = false, sentinelOf }: { busPort?: boolean; sentinelOf?: number } = {},
): Promise<RedisServer> {
  const program = ['redis-server', 'valkey-server'].find(isOnPath);
  if (program === undefined) {
    throw new Error('redis-server is not installed: apt-get install -y redis-server');
  }
  const folder = await mkdtemp(join(tmpdir(), 'tierline-test-redis-'));
  async function argsOn(port: number): Promise<string[]> {
    if (sentinelOf !== undefined) return [await sentinelFile(folder, port, sentinelOf), '--sentinel'];
    const settings = {
      port: `${port}`,
      bind: '127.0.0.1',
      dir: folder,
      appendonly: 'yes',
      // With `everysec` it answers before it writes while the disk is busy: killed then, it forgets what it acknowledged.
      appendfsync: 'always',
      'maxmemory-policy': 'noeviction',
      save: '',
      ...given,
    };
    return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  }

  async function start(port: number, args: readonly string[]): Promise<ChildProcess> {
    const child = spawn(program as string, args, { stdio: 'ignore' });
    const client = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null, retryStrategy: () => 20 });
    client.on('error', () => undefined);
    // Without this a server that cannot start would be waited for without end.
    const ended = once(child, 'exit').then(([code]) => {
      throw new Error(`redis-server on port ${port} ended with ${code} before it answered`);
    });
    await Promise.race([client.ping(), ended]).finally(() => client.disconnect());
    return child;
  }
  async function kill(): Promise<void> {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, 'exit');
    server.kill('SIGKILL');
    await ended;
  }

  /** Somebody else may take the port first: then another one is tried. */
  async function startSomewhere(): Promise<{ port: number; args: readonly string[]; first: ChildProcess }> {
    for (let tries = 1; ; tries++) {
      const port = await freePort(busPort ? BUS_PORT : 0);
      const args = await argsOn(port);
      try {
        return { port, args, first: await start(port, args) };
      } catch (error) {
        if (tries === MAX_TRIES) throw error;
      }
    }
  }

  const { port, args, first } = await startSomewhere();
  let server = first;
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    signal: (name) => void server.kill(name),
    kill,
    async restart() {
      await kill();
      server = await start(port, args);
    },
    async close() {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function isOnPath(program: string): boolean {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .some((directory) => existsSync(join(directory, program)));
}

/** A Sentinel keeps what it learns in its own configuration file. */
async function sentinelFile(folder: string, port: number, master: number): Promise<string> {
  const file = join(folder, 'sentinel.conf');
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    `sentinel monitor main 127.0.0.1 ${master} 1`,
    'sentinel down-after-milliseconds main 1000',
    'sentinel failover-timeout main 5000',
  ];
  await writeFile(file, `${lines.join('\n')}\n`);
  return file;
}
