// npm start: the whole system on one machine, as the Procfile describes it, until Ctrl-C.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { dashboardAccess } from './dashboard-access.mjs';
import { onInterruption } from './interruption.mjs';
import { openOutput } from './output.mjs';
import { parseProcfile } from './procfile.mjs';
import { startServices } from './services/start-services.mjs';
import { runOnce, supervise } from './supervised.mjs';

// Two, to show that the drain scales by adding workers.
const instances = { worker: 2 };

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const lines = parseProcfile(readFileSync('Procfile', 'utf8'));
const release = lines.find(({ name }) => name === 'release');
const processes = lines
  .filter((line) => line !== release)
  .flatMap(({ name, command }) =>
    Array.from({ length: instances[name] ?? 1 }, (_, index) => ({ name: `${name}.${index + 1}`, command })),
  );
const output = await openOutput(['tierline', 'release', ...processes.map(({ name }) => name)]);
const say = (line) => output.print('tierline', line);

// The signal may come more than once: from the terminal, and again from npm.
const asked = new Promise((resolve) => {
  onInterruption(() => resolve('asked'));
});

process.exitCode = await main();

async function main() {
  let services;
  try {
    services = await startServices({ log: say });
  } catch (error) {
    say(error.message);
    return 1;
  }
  try {
    return await runProcfile({
      ...process.env,
      ...services.env,
      ...(await dashboardAccess(process.env, say)),
    });
  } finally {
    say('stopping Redis and Postgres');
    await services.stop();
  }
}

async function runProcfile(env) {
  if (release !== undefined) {
    const child = runOnce({ ...release, env, output });
    const code = await Promise.race([child.ended, asked]);
    if (code !== 0) {
      await child.stop();
      say(code === 'asked' ? 'interrupted' : `release ended with code ${code}, nothing was started`);
      return code === 'asked' ? 0 : 1;
    }
  }
  say(`REDIS_URL=${env.REDIS_URL}`);
  say(`DATABASE_URL=${env.DATABASE_URL}`);
  const running = processes.map((line) => supervise({ ...line, env, output }));
  await Promise.race([asked, Promise.all(running.map(({ done }) => done))]);
  say('stopping the processes');
  await Promise.all(running.map((one) => one.stop()));
  return 0;
}
