import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const guard = fileURLToPath(new URL('./guard.mjs', import.meta.url));

/**
 * Starts a program under its guard. `detached` keeps it out of the terminal's process group, so that Ctrl-C does
 * not reach it before the program that uses it has shut down.
 */
export function startGuarded(spec, { env = process.env, stdio, detached }) {
  const options = { stopSignal: 'SIGTERM', graceMs: 5_000, ...spec };
  const child = spawn(process.execPath, [guard, JSON.stringify(options)], {
    env,
    detached,
    stdio: [...stdio, 'pipe'],
  });
  const pipe = child.stdio[3];
  // Writing to a guard that has just ended is no error: `ended` tells.
  pipe.on('error', () => {});

  const ended = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });

  return {
    stdout: child.stdout,
    stderr: child.stderr,
    ended,
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
    signal: (name) => void pipe.write(`${name}\n`),
    /** Lets this script end while the program runs: the guard then stops the program. */
    unref() {
      child.unref();
      for (const stream of child.stdio) stream?.unref();
    },
    stop() {
      child.ref();
      for (const stream of child.stdio) stream?.ref();
      pipe.end();
      return ended;
    },
  };
}
