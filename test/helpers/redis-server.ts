import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { existsSync } from 'node:fs';
import { Redis } from 'ioredis';

/** A Redis of the test's own, which it may kill. */
export interface RedisServer {
  readonly url: string;
  /** Kills it (SIGKILL) and starts it again on its data; resolves when it answers. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** @param given settings over those of a queue's Redis, as in redis.conf */
export async function startRedisServer(given: Readonly<Record<string, string>> = {}): Promise<RedisServer> {
  const program = ['redis-server', 'valkey-server'].find(isOnPath);
  if (program === undefined) {
    throw new Error('redis-server is not installed: apt-get install -y redis-server');
  }
  const folder = await mkdtemp(join(tmpdir(), 'tierline-test-redis-'));
  const port = await freePort();
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
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const url = `redis://127.0.0.1:${port}`;

  async function start(): Promise<ChildProcess> {
    const child = spawn(program as string, args, { stdio: 'ignore' });
    const client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 20 });
    client.on('error', () => undefined);
    await client.ping();
    client.disconnect();
    return child;
  }
  async function kill(): Promise<void> {
    const ended = once(server, 'exit');
    server.kill('SIGKILL');
    await ended;
  }

  let server = await start();
  return {
    url,
    async restart() {
      await kill();
      server = await start();
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

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
