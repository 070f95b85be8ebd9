import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** `startGuarded` of scripts/services/guarded.mjs: the guard ends the process also when the demo itself is killed. */
export type StartGuarded = (
  program: { readonly command: string; readonly args: readonly string[] },
  options: { readonly env: NodeJS.ProcessEnv; readonly stdio: readonly string[]; readonly detached: boolean },
) => {
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** The exit code. */
  readonly ended: Promise<number>;
  signal(name: NodeJS.Signals): void;
  stop(): Promise<number>;
};

/** The worker processes of the demo. Their logs go to one file, not to the screen. */
export class Workers {
  readonly logFile = join(mkdtempSync(join(tmpdir(), 'tierline-demo-')), 'workers.log');
  readonly #log = createWriteStream(this.logFile);
  readonly #start: StartGuarded;
  readonly #env: NodeJS.ProcessEnv;
  readonly #running = new Map<string, ReturnType<StartGuarded>>();
  readonly #failed = new AbortController();

  constructor(start: StartGuarded, env: NodeJS.ProcessEnv) {
    this.#start = start;
    this.#env = env;
  }

  /** Aborts when a worker ended that nobody asked to: nothing would settle any more. */
  get failed(): AbortSignal {
    return this.#failed.signal;
  }

  /** Resolves when the worker says that it has started. */
  async start(name: string, kind: 'drain' | 'maintenance'): Promise<void> {
    const file = fileURLToPath(new URL(`../workers/${kind}.js`, import.meta.url));
    const options = { env: this.#env, stdio: ['ignore', 'pipe', 'pipe'], detached: true };
    const worker = this.#start({ command: process.execPath, args: [file] }, options);
    this.#running.set(name, worker);
    void this.#watch(name, worker);
    await new Promise<void>((resolve, reject) => {
      this.failed.addEventListener('abort', () => reject(this.failed.reason), { once: true });
      for (const stream of [worker.stdout, worker.stderr]) {
        stream.pipe(this.#log, { end: false });
        stream.on('data', (bytes: Buffer) => bytes.includes(`"${kind} started"`) && resolve());
      }
    });
  }

  async #watch(name: string, worker: ReturnType<StartGuarded>): Promise<void> {
    const code = await worker.ended;
    if (this.#running.get(name) !== worker) return;
    this.#running.delete(name);
    this.#failed.abort(new Error(`worker process ${name} ended by itself with code ${code}`));
  }

  /** Ends a worker as a crash would. Resolves when it is gone. */
  async kill(name: string): Promise<void> {
    const worker = this.#running.get(name);
    this.#running.delete(name);
    worker?.signal('SIGKILL');
    await worker?.ended;
  }

  /** Ends all, politely. */
  async stop(): Promise<void> {
    const workers = [...this.#running.values()];
    this.#running.clear();
    await Promise.all(workers.map((worker) => worker.stop()));
  }

  removeLog(): void {
    rmSync(dirname(this.logFile), { recursive: true, force: true });
  }
}
