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

export async function startWorker(
  name: 'drain' | 'maintenance' | 'dashboard',
  env: NodeJS.ProcessEnv,
): Promise<WorkerProcess> {
  const file = fileURLToPath(new URL(`../../workers/${name}.js`, import.meta.url));
  const child = spawn(process.execPath, [...nodeFlags(name), file], {
    env: { ...env, TIERLINE_LOG_LEVEL: 'info' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const started = new Promise<void>((resolve, reject) => {
    const hear = (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes(`${name} started`)) resolve();
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.once('exit', (code) => reject(new Error(`${name} ended with ${code}: ${output}`)));
  });
  await started;
  return {
    child,
    output: () => output,
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, 'exit');
        child.kill(signal);
        await ended;
      }
      return child.exitCode;
    },
  };
}
