import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A worker of `workers/` as a real process. */
export interface WorkerProcess {
  readonly child: ChildProcess;
  /** Everything it printed. */
  output(): string;
  /** Ends it and returns the exit code (null after a signal). */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** What the Procfile gives Node for a worker: tests and benches run it as users do. */
function nodeFlags(name: string): string[] {
  const line = readFileSync('Procfile', 'utf8')
    .split('\n')
    .find((process) => process.endsWith(` dist/workers/${name}.js`));
  return (line ?? '').split(' ').filter((word) => word.startsWith('--'));
}

/** A worker that has just been spawned; `until` resolves when it has printed a text, and rejects when it ends before. */
export interface SpawnedWorker extends WorkerProcess {
  until(text: string): Promise<void>;
  /** Its exit code (null after a signal), once it has ended. */
  readonly ended: Promise<number | null>;
}

export type WorkerName = 'drain' | 'maintenance' | 'dashboard' | 'gateway';

export function spawnWorker(
  name: WorkerName | 'migrate',
  env: NodeJS.ProcessEnv,
  flags: readonly string[] = [],
): SpawnedWorker {
  const file = fileURLToPath(new URL(`../../workers/${name}.js`, import.meta.url));
  const child = spawn(process.execPath, [...nodeFlags(name), ...flags, file], {
    env: { TIERLINE_LOG_LEVEL: 'info', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const ended = once(child, 'close').then(() => child.exitCode);
  return {
    child,
    ended,
    output: () => output,
    until: (text) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (output.includes(text)) resolve();
        };
        child.stdout.on('data', look);
        child.stderr.on('data', look);
        look();
        void ended.then((code) => reject(new Error(`${name} ended with ${code}: ${output}`)));
      }),
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      return ended;
    },
  };
}

/** A worker that has started. */
export async function startWorker(name: WorkerName, env: NodeJS.ProcessEnv): Promise<SpawnedWorker> {
  const worker = spawnWorker(name, env);
  await worker.until(`${name} started`);
  return worker;
}
