// npm run test:stress [-- <arguments for ava>]: the tests three times in a row, while one process a core takes all the time
// it gets. What fails here only waits for the machine instead of for what it tests.
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { onInterruption } from './interruption.mjs';
import { startGuarded } from './services/guarded.mjs';

const RUNS = 3;
const withServices = fileURLToPath(new URL('./with-services.mjs', import.meta.url));

const burners = Array.from({ length: availableParallelism() }, () =>
  startGuarded(
    { command: process.execPath, args: ['-e', 'for (;;);'] },
    { stdio: ['ignore', 'ignore', 'inherit'], detached: true },
  ),
);
let current;
const interruption = new AbortController();
onInterruption((name) => {
  interruption.abort();
  current?.signal(name);
});

const results = [];
while (results.length < RUNS && !interruption.signal.aborted) {
  say(`run ${results.length + 1} of ${RUNS}, beside ${burners.length} busy processes`);
  const startedAt = Date.now();
  current = startGuarded(
    {
      command: process.execPath,
      args: [withServices, '--', 'ava', ...process.argv.slice(2)],
      graceMs: 30_000,
    },
    { stdio: ['inherit', 'inherit', 'inherit'] },
  );
  const code = await current.ended;
  results.push({ code, seconds: Math.round((Date.now() - startedAt) / 1000) });
}
await Promise.all(burners.map((burner) => burner.stop()));

const green = results.filter(({ code }) => code === 0).length;
const runs = results.map(
  ({ code, seconds }) => `${code === 0 ? 'green' : `exit code ${code}`} after ${seconds} s`,
);
say(`${green} of ${RUNS} runs green: ${runs.join(', ')}`);
process.exitCode = green === RUNS ? 0 : 1;

function say(line) {
  console.error(`stress: ${line}`);
}
