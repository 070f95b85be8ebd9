import net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { UnsafeServerError } from '../../src/errors.ts';
import { createLogger } from '../../src/log.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { closeRedis, whenReady } from '../../src/redis/connect.ts';
import { createRedis } from '../../src/redis/driver.ts';
import { checkQueueServer } from '../../src/redis/masters.ts';

/** A server that answers every command with `INFO` text: enough for the checks made while opening. */
async function fakeRedis(t: ExecutionContext, info: Readonly<Record<string, string>>): Promise<string> {
  const text = Object.entries(info)
    .map(([name, value]) => `${name}:${value}\r\n`)
    .join('');
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      // One reply a command; a command is an array of bulk strings.
      const commands = bytes.toString().match(/^\*\d+\r$/gm)?.length ?? 0;
      for (let i = 0; i < commands; i++) socket.write(`$${Buffer.byteLength(text)}\r\n${text}\r\n`);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `redis://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}

const log = createLogger('test', 'silent');

async function check(t: ExecutionContext, info: Readonly<Record<string, string>>): Promise<void> {
  const redis = createRedis(await fakeRedis(t, info), 'failFast', log);
  try {
    await whenReady(redis, 5000);
    await checkQueueServer(redis, log);
  } finally {
    redis.disconnect();
  }
}

const SAFE = { redis_version: '7.2.4', maxmemory_policy: 'noeviction', aof_enabled: '1' };

for (const info of [
  SAFE,
  { ...SAFE, redis_version: '6.2.0' },
  { ...SAFE, redis_version: '10.0.1' },
  { ...SAFE, redis_version: '6.0.16', valkey_version: '7.2.8' },
  // Managed services hide what they do not let one change; without an append-only file there is a warning.
  { redis_version: '7.0.0' },
  { ...SAFE, aof_enabled: '0' },
]) {
  test(`a safe server is taken: ${JSON.stringify(info)}`, (t) => t.notThrowsAsync(check(t, info)));
}

for (const version of ['6.0.16', '5.0.14', '2.8.0']) {
  test(`Redis ${version} is refused by name`, async (t) => {
    const error = await t.throwsAsync(check(t, { ...SAFE, redis_version: version }), {
      instanceOf: UnsafeServerError,
    });
    t.true(error?.message.includes(version) && error.message.includes('6.2'));
  });
}

for (const policy of ['allkeys-lru', 'volatile-ttl', 'allkeys-random']) {
  test(`I3: a queue that may be evicted is refused, with the fix: ${policy}`, async (t) => {
    const error = await t.throwsAsync(check(t, { ...SAFE, maxmemory_policy: policy }), {
      instanceOf: UnsafeServerError,
    });
    t.true(
      error?.message.includes(policy) && error.message.includes('CONFIG SET maxmemory-policy noeviction'),
    );
  });
}

test('openProducer passes the refusal on', async (t) => {
  const redisUrl = await fakeRedis(t, { ...SAFE, maxmemory_policy: 'allkeys-lru' });
  await t.throwsAsync(openProducer({ redisUrl, logLevel: 'silent' }), { instanceOf: UnsafeServerError });
});

test('I12: closing a connection that never connected, or twice, is fine', async (t) => {
  const redis = createRedis('redis://127.0.0.1:1', 'failFast', log);
  await t.throwsAsync(whenReady(redis, 200), { message: /ECONNREFUSED/ });
  await closeRedis(redis);
  await closeRedis(redis);
});
