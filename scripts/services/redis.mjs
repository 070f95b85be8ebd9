import { installMissing } from '../apt.mjs';
import { adviceFor, findPrograms } from './find.mjs';
import { formCluster } from './form-cluster.mjs';
import { startPrivateServer, startTogether } from './private-server.mjs';

const oldest = '6.2';
const forQueue = {
  appendonly: 'yes',
  appendfsync: 'everysec',
  'maxmemory-policy': 'noeviction',
};

/** Starts a Redis (or Valkey) of our own for the queue, set up the way Tierline asks of a production one. */
export function startPrivateRedis(say) {
  return start(say, 'Redis', forQueue);
}

const masters = 3;
/** What a server of a cluster adds to its port for the port of the others; Redis 6.2 leaves no choice. */
const busPort = 10_000;

/** Starts a Redis Cluster of our own for the queue: three masters with a replica each. */
export async function startPrivateRedisCluster(say) {
  const settings = { ...forQueue, 'cluster-enabled': 'yes' };
  const { servers, stop } = await startTogether(
    Array.from({ length: 2 * masters }, () => start(say, 'Redis of a cluster', settings, busPort)),
  );
  try {
    const hosts = servers.map(({ url }) => new URL(url).host);
    await formCluster(
      hosts.map((host) => Number(host.split(':')[1])),
      masters,
    );
    return { url: `redis+cluster://${hosts.join()}`, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** One for L2 copies: it forgets them when it stops, and may evict them. */
export function startPrivateCache(say) {
  return start(say, 'Redis for L2', { appendonly: 'no', 'maxmemory-policy': 'allkeys-lfu' });
}

async function start(say, role, given, nearPort) {
  const { path, text, version } = find() ?? install(say);
  const name = /valkey/i.test(text) ? role.replace('Redis', 'Valkey') : role;
  const { port, stop } = await startPrivateServer({ name, programOf, say, nearPort });
  say(`${name} ${version} on 127.0.0.1:${port} (private, its data goes when it stops)`);
  return { url: `redis://127.0.0.1:${port}`, stop };

  function programOf({ folder, port }) {
    const settings = {
      port: `${port}`,
      bind: '127.0.0.1',
      dir: folder,
      save: '',
      ...given,
    };
    return {
      command: path,
      args: Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value]),
    };
  }
}

function find() {
  return findPrograms(['redis-server', 'valkey-server'], ['/opt/homebrew/bin', '/usr/local/bin'], oldest)[0];
}

function install(say) {
  installMissing({ 'redis-server': 'redis-server' }, say);
  const found = find();
  if (found === undefined) throw new Error(adviceFor(`Redis (${oldest} or newer)`, 'redis-server', 'redis'));
  return found;
}
