import { randomUUID } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './free-port.mjs';
import { startGuarded } from './guarded.mjs';

const readyWithinMs = 30_000;
const attempts = 5;

/**
 * Starts a server on a free loopback port with a folder of its own, and waits until it answers. `spec` builds the
 * guard's options from {folder, port}. `probe` gets the same, throws while the server is not ready, and returns
 * the folder the answering server uses: another server may have taken the port first.
 */
export async function startPrivateServer({ name, spec, probe, log }) {
  for (let attempt = 1; ; attempt++) {
    const place = {
      port: await freePort(),
      folder: join(realpathSync(tmpdir()), `tierline-${name.toLowerCase()}-${randomUUID()}`),
    };
    const server = startGuarded(
      { folder: place.folder, ...spec(place) },
      { stdio: ['ignore', 'ignore', 'pipe'], detached: true },
    );
    let tail = '';
    server.stderr.setEncoding('utf8').on('data', (text) => {
      tail += text;
    });

    const failure = await untilReady(server, probe, place);
    if (failure === undefined) {
      server.unref();
      return { port: place.port, stop: stopper({ name, server, log, tail: () => tail }) };
    }
    await server.stop();
    const portTaken = failure === 'another server has its port' || /address already in use/i.test(tail);
    if (!portTaken || attempt === attempts) {
      throw new Error(`${name} did not start: ${failure}\n${indent(tail)}`);
    }
  }
}

async function untilReady(server, probe, place) {
  const deadline = Date.now() + readyWithinMs;
  let last = 'no answer';
  while (Date.now() < deadline) {
    if (server.hasEnded()) return 'it ended at once';
    try {
      return (await probe(place)) === place.folder ? undefined : 'another server has its port';
    } catch (error) {
      last = error.message || error.code;
    }
    await sleep(50);
  }
  return `not ready after ${readyWithinMs / 1000} s (${last})`;
}

function stopper({ name, server, log, tail }) {
  let asked = false;
  void watch();
  return async () => {
    asked = true;
    await server.stop();
  };

  async function watch() {
    await server.ended;
    if (!asked) log(`${name} ended although nobody asked it to\n${indent(tail())}`);
  }
}

function indent(text) {
  return text.trimEnd().replaceAll(/^/gm, '    ');
}
