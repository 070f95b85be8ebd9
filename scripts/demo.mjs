// npm run demo: real records through the whole system, with a worker killed on the way; demo/ says how.
import { onInterruption } from './interruption.mjs';
import { startGuarded } from './services/guarded.mjs';
import { startServices } from './services/start-services.mjs';

// Computed, because the built files are not there when this one is checked.
const { HELP, parseOptions, runDemo } = await import(new URL('../dist/demo/run.js', import.meta.url).href);

process.exitCode = await main();

async function main() {
  let options;
  try {
    options = parseOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`${error.message}\n\n${HELP}`);
    return 2;
  }
  if (options.help) {
    console.log(HELP);
    return 0;
  }
  // Before anything is started, so that Ctrl-C ends all of it at any time.
  const interruption = new AbortController();
  onInterruption(() => interruption.abort());
  let services;
  try {
    services = await startServices((line) => console.log(line));
    const { REDIS_URL: redisUrl, DATABASE_URL: databaseUrl } = services.env;
    return await runDemo({ options, redisUrl, databaseUrl, startGuarded, signal: interruption.signal });
  } catch (error) {
    console.error(error.message);
    return 1;
  } finally {
    await services?.stop();
  }
}
