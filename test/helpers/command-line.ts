import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pLimit from 'p-limit';

export const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The built `tierline` as a process that is running. */
export interface RunningCommand {
  readonly pid: number;
  output(): string;
  errors(): string;
  kill(signal: NodeJS.Signals): void;
  readonly finished: Promise<Finished>;
}

export function startCommand(
  env: NodeJS.ProcessEnv,
  args: readonly string[],
  input: string | Buffer | undefined = '',
  nodeFlags: readonly string[] = [],
): RunningCommand {
  const child = spawn(process.execPath, [...nodeFlags, MAIN, ...args], {
    env,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  // A command that refuses its arguments reads nothing.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  return {
    pid: child.pid as number,
    output: () => stdout,
    errors: () => stderr,
    kill: (signal) => child.kill(signal),
    finished: once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr })),
  };
}

/** Tests of a file start together: so many processes at once would only wait for each other. */
const limit = pLimit(3);

/** Runs it to its end. */
export function runCommand(
  env: NodeJS.ProcessEnv,
  args: readonly string[],
  input?: string | Buffer,
): Promise<Finished> {
  return limit(() => startCommand(env, args, input).finished);
}

const LINES = fileURLToPath(new URL('./refused-lines.js', import.meta.url));

/** Runs command lines that are refused before they do anything, all in one process. */
export async function runLines(
  env: NodeJS.ProcessEnv,
  lines: readonly (readonly string[])[],
): Promise<Finished[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [LINES, JSON.stringify(lines)], { env });
  return JSON.parse(stdout) as Finished[];
}

export function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

/** What was printed as JSON, one value a line. */
export function jsonOf<T = Record<string, unknown>>(text: string): T[] {
  return linesOf(text).map((line) => JSON.parse(line) as T);
}
