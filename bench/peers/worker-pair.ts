import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));

/** Two worker processes of a peer, as Tierline has two in the benches: both cores are used. */
export class WorkerPair {
  readonly #children: readonly ChildProcess[];
  /** Items that each has stored so far. */
  readonly #stored = new Map<ChildProcess, number>();
  /** Called when a worker tells how far it is, and with an error when one ends. */
  #told: (error?: Error) => void = () => undefined;

  private constructor(name: string, children: readonly ChildProcess[]) {
    this.#children = children;
    for (const child of children) {
      child.on('message', (stored) => {
        this.#stored.set(child, Number(stored));
        this.#told();
      });
      child.on('exit', () => this.#told(new Error(`a worker of ${name} has ended`)));
    }
  }

  static async start(name: string, env: NodeJS.ProcessEnv): Promise<WorkerPair> {
    const children = [0, 1].map(() => fork(WORKER, [name], { env }));
    const pair = new WorkerPair(name, children);
    await pair.#until(() => pair.#stored.size === children.length);
    return pair;
  }

  get pids(): number[] {
    return this.#children.map(({ pid }) => pid as number);
  }

  get #total(): number {
    return [...this.#stored.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Resolves when both together have stored so many since they started. */
  reach(count: number): Promise<void> {
    return this.#until(() => this.#total >= count);
  }

  async stop(): Promise<void> {
    this.#told = () => undefined;
    await Promise.all(
      this.#children.map(async (child) => {
        const ended = once(child, 'exit');
        child.kill();
        await ended;
      }),
    );
  }

  #until(isSo: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#told = (error) => {
        if (error !== undefined) reject(error);
        else if (isSo()) resolve();
      };
      this.#told();
    });
  }
}
