// Loads nothing that takes time: a signal must be heard before the modules of a process are loaded.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runProcess } from '../lifecycle/run-process.ts';

/** The name of each service in its log. */
const SERVICES = {
  worker: 'drain',
  maintenance: 'maintenance',
  dashboard: 'dashboard',
  gateway: 'gateway',
} as const;
type ServiceName = keyof typeof SERVICES;

/** What `tierline start` runs. A gateway needs tokens, and not every deployment has one. */
const STARTED: readonly ServiceName[] = ['worker', 'maintenance', 'dashboard'];

/** Node takes these flags only when it starts. The small young generation keeps a worker's memory low. */
const NODE_FLAGS: Partial<Record<ServiceName, readonly string[]>> = { worker: ['--max-semi-space-size=8'] };

/**
 * By how many percent a worker's heap may grow before its garbage is collected. Left alone, Node waits until it has up to four times what
 * is in use. In turns with that, a drain took 180 in place of 223 MB, and 1 % longer.
 */
const HEAP_GROWTH = 150;

/** Runs one service as this process, until a signal ends it. */
export function runService(name: ServiceName): Promise<void> {
  if (name === 'worker') setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH}`);
  return runProcess(SERVICES[name], async () => (await import('./services.ts'))[name]);
}

/** Runs the services of one machine as child processes. A signal stops them all, and so does the end of one. */
async function startAll(): Promise<void> {
  let asked = false;
  const children: ChildProcess[] = [];
  const stop = () => {
    for (const child of children) child.kill('SIGTERM');
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      asked = true;
      stop();
    });
  }
  for (const name of STARTED) children.push(startChild(name));
  const ends = children.map(async (child) => {
    await once(child, 'exit');
    return child.exitCode;
  });
  await Promise.race(ends);
  if (!asked) stop();
  const codes = await Promise.all(ends);
  process.exit(asked && codes.every((code) => code === 0) ? 0 : 1);
}

function startChild(name: ServiceName): ChildProcess {
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  return spawn(process.execPath, [...(NODE_FLAGS[name] ?? []), main, name], {
    // The channel closes when this process dies, and runProcess then stops the child.
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // Ctrl-C reaches this process alone, which passes it on: a second signal would end a child at once.
    detached: true,
  });
}

/** Prints the hash of the password on standard input, for TIERLINE_DASHBOARD_PASSWORD_HASH. */
export async function printPasswordHash(): Promise<0 | 2> {
  const [{ text }, { hashPassword }] = await Promise.all([
    import('node:stream/consumers'),
    import('../password-hash.ts'),
  ]);
  // An argument would stand in the shell's history and in the list of processes.
  const password = (await text(process.stdin)).replace(/\r?\n$/, '');
  if (password === '') {
    console.error('Give the password on standard input.');
    return 2;
  }
  console.log(await hashPassword(password));
  return 0;
}

/** The commands that run until a signal ends them. */
export const PROCESSES: ReadonlyMap<string, () => Promise<void>> = new Map([
  ['start', startAll],
  ...(Object.keys(SERVICES) as ServiceName[]).map((name) => [name, () => runService(name)] as const),
]);
