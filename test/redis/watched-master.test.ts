import { once } from 'node:events';
import net from 'node:net';
import test from 'ava';
import { createLogger } from '../../src/log.ts';
import { closeRedis, whenReady } from '../../src/redis/connect.ts';
import { type ConnectionMode, createRedis } from '../../src/redis/driver.ts';
import { eventually } from '../helpers/eventually.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { closing } from '../helpers/setting.ts';

const log = createLogger('test', 'silent');
const bulk = (...texts: readonly string[]) =>
  `*${texts.length}\r\n${texts.map((text) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`).join('')}`;

/** A Sentinel that names one master. While it is `slow`, it does not answer who the master is. */
async function startSentinel(master: URL) {
  const listeners = new Set<net.Socket>();
  const unanswered: net.Socket[] = [];
  let isSlow = false;
  const answer = (socket: net.Socket) => socket.write(bulk(master.hostname, master.port));
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      // A command is an array of bulk strings; several may come at once.
      for (const command of bytes.toString().split(/^(?=\*\d+\r$)/m)) {
        if (/get-master-addr-by-name/i.test(command)) {
          if (isSlow) unanswered.push(socket);
          else answer(socket);
        } else if (/^subscribe\r$/im.test(command)) {
          socket.write('*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n');
          listeners.add(socket);
        } else socket.write('*0\r\n');
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `redis+sentinel://127.0.0.1:${(server.address() as net.AddressInfo).port}/main`,
    isHeard: () => listeners.size > 0,
    isAsked: () => unanswered.length > 0,
    becomeSlow: () => {
      isSlow = true;
    },
    tellOfFailover() {
      for (const listener of listeners) {
        listener.write(bulk('message', '+switch-master', 'main 127.0.0.1 1 127.0.0.1 2'));
      }
    },
    answer() {
      isSlow = false;
      unanswered.forEach(answer);
    },
    close: async () => void server.close(),
  };
}

for (const mode of ['failFast', 'patient'] satisfies ConnectionMode[]) {
  test(`I8: ${mode}: the news of a failover while the Sentinels are asked for the master ends no connection`, async (t) => {
    const master = closing(t, await startRedisServer());
    const sentinel = closing(t, await startSentinel(new URL(master.url)));
    const redis = createRedis(sentinel.url, mode, log);
    t.teardown(() => closeRedis(redis));
    await whenReady(redis, 10_000);
    await eventually(sentinel.isHeard, 'the connection listens to the Sentinel');
    sentinel.becomeSlow();
    const other = createRedis(master.url, 'patient', log);
    await other.client('KILL', 'ID', await redis.client('ID'));
    await closeRedis(other);
    await eventually(sentinel.isAsked, 'the Sentinel is asked again');
    sentinel.tellOfFailover();
    sentinel.answer();
    await eventually(() => redis.status === 'ready', 'it is connected again');
    t.is(await redis.ping(), 'PONG');
    await closeRedis(redis);
    await eventually(() => redis.status === 'end', 'and what is closed stays closed');
  });
}
