import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The most that was alive in the process right after a collection: the heap and the buffers outside of it. */
export class HeapPeak {
  bytes = 0;

  /** Collects first, so that garbage does not count. Needs `--expose-gc`. */
  sample(): void {
    if (globalThis.gc === undefined) throw new Error('run node with --expose-gc');
    globalThis.gc();
    const { heapUsed, external } = process.memoryUsage();
    this.bytes = Math.max(this.bytes, heapUsed + external);
  }
}

/**
 * Runs a program of `test/helpers` in a process whose heap has `maxHeapMb`, if given, and returns the JSON that it printed. A
 * process that needs more heap is ended by Node, and the call rejects.
 */
export async function runInHeap<T>(
  program: string,
  args: readonly string[],
  { env, maxHeapMb }: { env: NodeJS.ProcessEnv; maxHeapMb?: number },
): Promise<T> {
  const file = fileURLToPath(new URL(program, import.meta.url));
  const flags = ['--expose-gc', ...(maxHeapMb === undefined ? [] : [`--max-old-space-size=${maxHeapMb}`])];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, file, ...args], { env });
  return JSON.parse(stdout) as T;
}
