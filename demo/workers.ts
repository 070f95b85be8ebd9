import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** Ends a worker also when the demo itself is killed: see there. */
const GUARD = fileURLToPath(new URL('../../scripts/services/guard.mjs', import.meta.url));

/** The worker processes of the demo. Their logs go to one file, not to the screen. */
export class Workers {
  readonly logFile = join(mkdtempSync(join(tmpdir(), 'tierline-demo-')), 'workers.log');
  readonly #log = createWriteStream(this.logFile);
  readonly #env: NodeJS.ProcessEnv;
  readonly #running = new Map<string, ChildProcess>();
  readonly #failed = new AbortController();

  constructor(env: NodeJS.ProcessEnv) {
    this.#env = env;
  }

  /** Aborts when a worker ended that nobody asked to: nothing would settle any more. */
  get failed(): AbortSignal {
    return this.#failed.signal;
  }

  /** Resolves when the worker says that it has started. */
  async start(name: string, kind: 'drain' | 'maintenance'): Promise<void> {
    const file = fileURLToPath(new URL(`../workers/${kind}.js`, import.meta.url));
    const program = { command: process.execPath, args: [file], stopSignal: 'SIGTERM', graceMs: 15_000 };
    const worker = spawn(process.execPath, [GUARD, JSON.stringify(program)], {
      env: this.#env,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      // Ctrl-C is the demo's to handle.
      detached: true,
    });
    this.#running.set(name, worker);
    void this.#watch(name, worker);
    await new Promise<void>((resolve, reject) => {
      this.failed.addEventListener('abort', () => reject(this.failed.reason), { once: true });
      for (const stream of [worker.stdout, worker.stderr]) {
        stream?.pipe(this.#log, { end: false });
        stream?.on('data', (bytes: Buffer) => bytes.includes(`"${kind} started"`) && resolve());
      }
    });
  }

  async #watch(name: string, worker: ChildProcess): Promise<void> {
    const [code] = (await once(worker, 'exit')) as [number | null];
    if (this.#running.get(name) !== worker) return;
    this.#running.delete(name);
    this.#failed.abort(new Error(`worker process ${name} ended by itself with code ${code}`));
  }

  /** Ends a worker as a crash would. Resolves when it is gone. */
  kill(name: string): Promise<void> {
    return this.#end(name, (guard) => guard.write('SIGKILL\n'));
  }

  /** Ends all, politely. */
  async stop(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((name) => this.#end(name, (guard) => guard.end())));
  }

  async #end(name: string, tell: (guard: Writable) => void): Promise<void> {
    const worker = this.#running.get(name);
    if (worker === undefined) return;
    this.#running.delete(name);
    const ended = once(worker, 'exit');
    tell(worker.stdio[3] as Writable);
    await ended;
  }

  removeLog(): void {
    rmSync(dirname(this.logFile), { recursive: true, force: true });
  }
}
