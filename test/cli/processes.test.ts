import { fileURLToPath } from 'node:url';
import test from 'ava';
import { runCommand, startCommand } from '../helpers/command-line.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';

const SERVICES = ['drain', 'maintenance', 'dashboard'] as const;
const WHILE_LOADING = fileURLToPath(new URL('../helpers/signal-while-loading.js', import.meta.url));

const deployment = await createDeployment();
const env = {
  ...deployment.env,
  TIERLINE_LOG_LEVEL: 'info',
  TIERLINE_DASHBOARD_PORT: '0',
  TIERLINE_DASHBOARD_TOKEN: 'a'.repeat(32),
};
test.after.always(() => deployment.close());

for (const name of ['worker', 'maintenance', 'dashboard']) {
  test(`I12: tierline ${name}: SIGTERM while it still loads its modules ends it with 0`, async (t) => {
    const process = startCommand(env, [name], '', ['--import', WHILE_LOADING]);
    t.is((await process.finished).code, 0);
  });
}

async function startAll() {
  const all = startCommand(env, ['start']);
  await eventually(() => SERVICES.every((name) => all.output().includes(`${name} started`)), 'all run');
  return all;
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test.serial(`I12: tierline start: ${signal} stops every process, and it ends with 0`, async (t) => {
    const all = await startAll();
    all.kill(signal);
    const { code, stdout } = await all.finished;
    t.is(code, 0);
    for (const name of SERVICES) t.true(stdout.includes(`${name} stopped`), name);
  });
}

test.serial('I12: the processes of a tierline start that was killed stop by themselves', async (t) => {
  const all = await startAll();
  all.kill('SIGKILL');
  const { stdout } = await all.finished;
  for (const name of SERVICES) t.true(stdout.includes(`${name} stopped`), name);
});

test.serial('I12: a process that cannot run ends tierline start with 1, and the others stop', async (t) => {
  const { code, stdout } = await runCommand({ ...env, TIERLINE_DASHBOARD_TOKEN: '' }, ['start']);
  t.is(code, 1);
  t.regex(stdout, /no credentials/);
});

test('the completion of bash is a program that offers commands and options', async (t) => {
  const { stdout } = await runCommand(env, ['completion', 'bash']);
  const typed = async (...words: readonly string[]) => {
    const { execFileSync } = await import('node:child_process');
    const line = words.map((word) => JSON.stringify(word)).join(' ');
    const script = `${stdout}\nCOMP_WORDS=(${line}); COMP_CWORD=${words.length - 1}; _tierline; echo "\${COMPREPLY[*]}"`;
    return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).trim();
  };
  t.is(await typed('tierline', 'me'), 'merkle');
  t.is(await typed('tierline', 'merkle', ''), 'root prefix verify diff repair');
  t.is(await typed('tierline', 'put', 'a.csv', '--st'), '--state --strict');
  t.is(await typed('tierline', 'dead-letters', 'purge', '--o'), '--older-than');
});
