import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Below the ports that systems give to outgoing connections (from 32,768 on Linux): one of those would take the port of a server
 * while it is being started again. The bus of a cluster's server, 10,000 higher, is below them too.
 */
const lowest = 11_000;
const highest = 22_000;

/** A port of 127.0.0.1 that nobody listens on. The one that is `nearPort` higher is free, too. */
export async function freePort(nearPort = 0) {
  for (;;) {
    const port = randomInt(lowest, highest);
    if ((await isFree(port)) && (await isFree(port + nearPort))) return port;
  }
}

async function isFree(port) {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
