#!/usr/bin/env node
import { PROCESSES } from './processes.ts';

const argv = process.argv.slice(2);
const runUntilStopped = argv.length === 1 ? PROCESSES.get(argv[0] as string) : undefined;
if (runUntilStopped !== undefined) {
  await runUntilStopped();
} else {
  // `tierline scan | head -1`: a reader that has enough closes the pipe.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? 0 : 1);
  });
  // Without a reader of its messages a load goes on: ending there would leave the rest of the lines out.
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.exit(1);
  });
  const { run } = await import('./program.ts');
  await run(argv);
}
