import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const guard = fileURLToPath(new URL('./guard.mjs', import.meta.url));

/**
 * Starts a program under its guard, which takes `program` (guard.mjs). `options` are those of `spawn`; `detached` keeps the
 * program out of the terminal's process group, so that Ctrl-C does not end it before whoever uses it has shut down.
 */
export function startGuarded(program, options) {
  const settings = { stopSignal: 'SIGTERM', graceMs: 15_000, ...program };
  const stdio = [...options.stdio, 'pipe'];
  const child = spawn(process.execPath, [guard, JSON.stringify(settings)], { ...options, stdio });
  const pipe = child.stdio[3];
  // Writing to a guard that has just ended is no error: its exit tells.
  pipe.on('error', () => {});
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });
  const signal = (name) => void pipe.write(`${name}\n`);
  const stop = () => {
    for (const one of [child, ...child.stdio]) one?.ref?.();
    pipe.end();
    return ended;
  };
  /** Lets this script end while the program runs: the guard then stops the program. */
  const unref = () => {
    for (const one of [child, ...child.stdio]) one?.unref?.();
  };
  return { stdout: child.stdout, stderr: child.stderr, ended, signal, stop, unref };
}
