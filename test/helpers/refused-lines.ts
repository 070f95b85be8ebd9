import { run } from '../../src/cli/program.ts';
import type { Finished } from './command-line.ts';

/**
 * The program of `runLines`: runs command lines one after another, as `main.ts` runs one. Loading the program takes half a second
 * of CPU, and is done once here.
 */
const lines = JSON.parse(process.argv[2] as string) as readonly (readonly string[])[];
const results: Finished[] = [];
const print = process.stdout.write.bind(process.stdout);
for (const line of lines) {
  const written = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].write = (text: string | Uint8Array) => {
      written[name] += text.toString();
      return true;
    };
  }
  process.exitCode = undefined;
  await run(line);
  results.push({ code: exitCode(), ...written });
}
process.exitCode = 0;
print(JSON.stringify(results));

function exitCode(): number {
  return Number(process.exitCode ?? 0);
}
