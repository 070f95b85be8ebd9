import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** A process under a guard of scripts/services/, which ends it also when the demo itself is killed. */
export interface GuardedProcess {
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** The exit code; 128 + the signal's number when one ended it. */
  readonly ended: Promise<number>;
  signal(name: NodeJS.Signals): void;
  stop(): Promise<number>;
}

/** `startGuarded` of scripts/services/guarded.mjs. */
export type StartGuarded = (
  program: { readonly command: string; readonly args: readonly string[]; readonly graceMs: number },
  options: { readonly env: NodeJS.ProcessEnv; readonly stdio: readonly string[]; readonly detached: boolean },
) => GuardedProcess;

/** Longer than TIERLINE_SHUTDOWN_MS, within which a worker ends by itself. */
const GRACE_MS = 15_000;

/** The worker processes of the demo. Their logs go to one file, not to the screen. */
export class Workers {
  readonly logFile = join(mkdtempSync(join(tmpdir(), 'tierline-demo-')), 'workers.log');
  readonly #start: StartGuarded;
  readonly #env: NodeJS.ProcessEnv;
  readonly #running = new Map<string, GuardedProcess>();
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
    const worker = this.#start(
      { command: process.execPath, args: [file], graceMs: GRACE_MS },
      { env: this.#env, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
    );
    this.#running.set(name, worker);
    void this.#watch(name, worker);
    await new Promise<void>((resolve, reject) => {
      const hear = (bytes: Buffer): void => {
        appendFileSync(this.logFile, bytes);
        if (bytes.includes(`"${kind} started"`)) resolve();
      };
      worker.stdout.on('data', hear);
      worker.stderr.on('data', hear);
      this.failed.addEventListener('abort', () => reject(this.failed.reason), { once: true });
    });
  }

  async #watch(name: string, worker: GuardedProcess): Promise<void> {
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
