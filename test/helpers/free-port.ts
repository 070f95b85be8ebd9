import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';

/**
 * Below the ports that systems give to outgoing connections (from 32,768 on Linux): one of those would take the port of a
 * server while a test has it killed. The bus of a cluster's server, 10,000 higher, is below them too.
 */
const LOWEST = 11_000;
const HIGHEST = 22_000;
const BUS = 10_000;

/** A port of 127.0.0.1 that nobody listens on, and with `busPort` the one that is 10,000 higher is free, too. */
export async function freePort(busPort = false): Promise<number> {
  for (;;) {
    const port = randomInt(LOWEST, HIGHEST);
    if ((await isFree(port)) && (!busPort || (await isFree(port + BUS)))) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = net.createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
