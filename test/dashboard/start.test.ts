import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { verifyPassword } from '../../src/dashboard/password.ts';
import { startDashboard } from '../../src/dashboard/start-dashboard.ts';
import { ConfigError } from '../../src/errors.ts';
import { TOKEN } from '../helpers/dashboard.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';

const WORKER = fileURLToPath(new URL('../../workers/dashboard.js', import.meta.url));

let deployment: Deployment;
test.before(async () => {
  deployment = await createDeployment();
});
test.after.always(() => deployment.close());

async function run(args: readonly string[], input: string, env: NodeJS.ProcessEnv = deployment.env) {
  const child = spawn(process.execPath, [WORKER, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.end(input);
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: child.exitCode, output, errors };
}

test('--hash-password prints the hash of what comes in, and nothing else', async (t) => {
  const { code, output } = await run(['--hash-password'], 'a password with spaces\n');
  t.is(code, 0);
  t.true(await verifyPassword('a password with spaces', output.trim()));
  t.is((await run(['--hash-password'], '')).code, 2);
});

for (const host of ['127.0.0.1', '0.0.0.0']) {
  test(`without credentials the process ends with 1 on ${host} and says what to do`, async (t) => {
    const { code, output } = await run([], '', { ...deployment.env, TIERLINE_DASHBOARD_HOST: host });
    t.is(code, 1);
    t.regex(output, /no credentials/);
    t.regex(output, /--hash-password/);
  });
}

test('a port that is taken is told with the option to change', async (t) => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const error = await t.throwsAsync(
    startDashboard({ ...deployment.options, dashboardToken: TOKEN, dashboardPort: port }),
    { instanceOf: ConfigError },
  );
  t.regex(error.message, /TIERLINE_DASHBOARD_PORT/);
  other.close();
});

test('it starts, answers, and closes, twice if asked', async (t) => {
  const dashboard = await startDashboard({ ...deployment.options, dashboardToken: TOKEN, dashboardPort: 0 });
  const response = await fetch(`${dashboard.url}/healthz`, { headers: { connection: 'close' } });
  t.deepEqual(await response.json(), { status: 'alive' });
  await Promise.all([dashboard.close(), dashboard.close()]);
  await t.throwsAsync(fetch(`${dashboard.url}/healthz`));
});
