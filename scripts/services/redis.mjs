import { installMissing } from '../apt.mjs';
import { adviceFor, findPrograms } from './find.mjs';
import { startPrivateServer } from './private-server.mjs';

const oldest = '6.2';

/** Starts a Redis (or Valkey) of our own for the queue, set up the way Tierline asks of a production one. */
export function startPrivateRedis(say) {
  return start(say, 'Redis', {
    appendonly: 'yes',
    appendfsync: 'everysec',
    'maxmemory-policy': 'noeviction',
  });
}

/** One for L2 copies: it forgets them when it stops, and may evict them. */
export function startPrivateCache(say) {
  return start(say, 'Redis for L2', { appendonly: 'no', 'maxmemory-policy': 'allkeys-lfu' });
}

async function start(say, role, given) {
  const { path, text, version } = find() ?? install(say);
  const name = /valkey/i.test(text) ? role.replace('Redis', 'Valkey') : role;
  const { port, stop } = await startPrivateServer({ name, programOf, say });
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
