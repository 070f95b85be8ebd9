import { chownSync, mkdtempSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.mjs';
import { startGuarded } from './guarded.mjs';

const attempts = 3;
const readyWithinMs = 30_000;
const keptChars = 4000;

/**
 * Starts a server on a free loopback port, with a folder of its own that goes when it stops, and waits until it logs that it
 * takes connections. Somebody else may take the port first: then the whole is tried again.
 * @param programOf gives the guard's program for {folder, port}
 * @param nearPort what is added to the port for a second one that the server needs
 */
export async function startPrivateServer({ name, owner, programOf, say, nearPort }) {
  for (let attempt = 1; ; attempt++) {
    const folder = mkdtempSync(join(realpathSync(tmpdir()), `tierline-${name.toLowerCase()}-`));
    if (owner !== undefined) chownSync(folder, owner.uid, owner.gid);
    const port = await freePort(nearPort);
    const program = { ...programOf({ folder, port }), folder, owner };
    const server = startGuarded(program, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let log = '';
    let stopping = false;
    const ready = new Promise((resolve) => {
      setTimeout(resolve, readyWithinMs, false).unref();
      void server.ended.then(() => resolve(false));
      for (const stream of [server.stdout, server.stderr]) {
        stream.setEncoding('utf8').on('data', (text) => {
          log = (log + text).slice(-keptChars);
          if (/ready to accept connections/i.test(log)) resolve(true);
        });
      }
    });
    const stop = () => {
      stopping = true;
      return server.stop();
    };
    if (await ready) {
      server.unref();
      void server.ended.then(() => stopping || say(`${name} ended although nobody asked it to\n${log}`));
      return { port, stop };
    }
    await stop();
    if (attempt === attempts) throw new Error(`${name} did not start:\n${log}`);
  }
}

/** Waits for servers that are being started, and gives what stops all of them. When one fails, the others are stopped. */
export async function startTogether(starting) {
  const started = await Promise.allSettled(starting);
  const servers = started.flatMap(({ value }) => value ?? []);
  const stop = () => Promise.all(servers.map((server) => server.stop()));
  const failed = started.find(({ status }) => status === 'rejected');
  if (failed === undefined) return { servers, stop };
  await stop();
  throw failed.reason;
}
