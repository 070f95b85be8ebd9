import { dirname, join } from 'node:path';
import { adviceFor } from './advice.mjs';
import { installPostgres } from './embedded-postgres.mjs';
import { findPostgres } from './find-postgres.mjs';
import { startPrivateServer } from './private-server.mjs';
import { serverUser } from './server-user.mjs';
import { askPostgres } from './sql.mjs';

/** Starts a Postgres of our own, with an empty database `tierline`. */
export async function startPrivatePostgres({ log, find = findPostgres }) {
  const owner = serverUser();
  const { initdb, postgres, version } = await choosePostgres({ log, find, owner });
  const { port, stop } = await startPrivateServer({ name: 'Postgres', spec, probe, log });
  log(`Postgres ${version} on 127.0.0.1:${port} (private, its data goes when it stops)`);
  try {
    await askPostgres(address(port, 'postgres'), 'CREATE DATABASE tierline');
  } catch (error) {
    await stop();
    throw error;
  }
  return { url: address(port, 'tierline'), stop };

  function spec({ folder, port }) {
    const data = join(folder, 'data');
    return {
      owner,
      prepare: [{ command: initdb, args: initArguments(data) }],
      run: { command: postgres, args: serverArguments(data, port) },
      // Fast shutdown: connections somebody left open must not hold it up.
      stopSignal: 'SIGINT',
    };
  }
}

async function choosePostgres({ log, find, owner }) {
  const { found, refused } = find();
  if (found !== undefined) return found;
  for (const reason of refused) log(reason);
  try {
    return await installPostgres({ log, owner });
  } catch (error) {
    throw new Error(`No usable Postgres was found. ${error.message}\n${adviceFor('postgres')}`, {
      cause: error,
    });
  }
}

function initArguments(data) {
  // Without sync only the empty cluster is at risk; the server itself runs with fsync on.
  return ['-D', data, '-U', 'tierline', '--auth=trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
}

function serverArguments(data, port) {
  const settings = {
    listen_addresses: '127.0.0.1',
    // No Unix socket: its path would be too long in the temporary folder of macOS.
    unix_socket_directories: '',
    max_connections: 200,
    shared_buffers: '256MB',
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  return ['-D', data, '-p', `${port}`, ...options];
}

async function probe({ port }) {
  return dirname(await askPostgres(address(port, 'postgres'), 'SHOW data_directory'));
}

function address(port, database) {
  return `postgres://tierline@127.0.0.1:${port}/${database}`;
}
