import { setTimeout as sleep } from 'node:timers/promises';
import { startGuarded } from './services/guarded.mjs';

const backoffMs = { first: 1_000, last: 10_000 };
const settledAfterMs = 30_000;
const graceMs = 15_000;

/**
 * Keeps one process of the Procfile running: started again when it fails, after a pause that grows while it fails
 * at once. `done` resolves when it ended for good.
 */
export function supervise({ name, command, env, output }) {
  const stopping = new AbortController();
  let current;
  const done = keepRunning();
  return { done, stop };

  async function keepRunning() {
    let pause = backoffMs.first;
    while (!stopping.signal.aborted) {
      const since = Date.now();
      current = runOnce({ name, command, env, output });
      const code = await current.ended;
      if (code === 0 || stopping.signal.aborted) {
        output.print(name, code === 0 ? 'ended' : `ended with code ${code}`);
        return;
      }
      if (Date.now() - since > settledAfterMs) pause = backoffMs.first;
      output.print(name, `ended with code ${code}, starting it again in ${pause / 1000} s`);
      await sleep(pause, undefined, { signal: stopping.signal }).catch(() => {});
      pause = Math.min(pause * 2, backoffMs.last);
    }
  }

  async function stop() {
    stopping.abort();
    await current.stop();
    await done;
  }
}

/** Runs a command of the Procfile once; `ended` resolves to its exit code. */
export function runOnce({ name, command, env, output }) {
  // The shell gets SIGTERM together with the command; with the trap it waits for the command, and ends as it ends.
  const script = `trap : TERM; ${command}`;
  const child = startGuarded(
    { run: { command: '/bin/sh', args: ['-c', script] }, group: true, graceMs },
    { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  );
  output.follow(name, child.stdout);
  output.follow(name, child.stderr);
  return child;
}
