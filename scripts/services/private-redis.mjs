import { installRedis } from './apt-redis.mjs';
import { findRedis } from './find-redis.mjs';
import { adviceFor } from './advice.mjs';
import { startPrivateServer } from './private-server.mjs';
import { askRedis } from './resp.mjs';

/** Starts a Redis (or Valkey) of our own, set up the way Tierline asks of a production one. */
export async function startPrivateRedis({ log, find = findRedis }) {
  const { path, product, version } = chooseRedis({ log, find });
  const { port, stop } = await startPrivateServer({ name: product, spec, probe, log });
  log(`${product} ${version} on 127.0.0.1:${port} (private, its data goes when it stops)`);
  return { url: `redis://127.0.0.1:${port}`, stop };

  function spec({ folder, port }) {
    return { run: { command: path, args: settings(folder, port) } };
  }
}

function chooseRedis({ log, find }) {
  const first = find();
  for (const reason of first.refused) log(reason);
  if (first.found !== undefined) return first.found;
  if (first.refused.length === 0 && installRedis(log)) {
    const second = find();
    if (second.found !== undefined) return second.found;
    for (const reason of second.refused) log(reason);
  }
  throw new Error(`No usable Redis or Valkey was found.\n${adviceFor('redis')}`);
}

function settings(folder, port) {
  return Object.entries({
    port: `${port}`,
    bind: '127.0.0.1',
    dir: folder,
    appendonly: 'yes',
    appendfsync: 'everysec',
    'maxmemory-policy': 'noeviction',
    save: '',
  }).flatMap(([name, value]) => [`--${name}`, value]);
}

async function probe({ port }) {
  const [, folder] = (await askRedis(new URL(`redis://127.0.0.1:${port}`), [['CONFIG', 'GET', 'dir']]))[0];
  return folder;
}
