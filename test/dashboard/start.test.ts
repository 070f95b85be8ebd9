import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import test from 'ava';
import { verifyPassword } from '../../src/password-hash.ts';
import { startDashboard } from '../../src/dashboard/dashboard.ts';
import { ConfigError } from '../../src/errors.ts';
import { runCommand } from '../helpers/command-line.ts';
import { TOKEN } from '../helpers/dashboard.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { spawnWorker } from '../helpers/worker-process.ts';

const deployment = await createDeployment();
test.after.always(() => deployment.close());

test('--hash-password prints the hash of what comes in, and nothing else', async (t) => {
  const args = ['dashboard', '--hash-password'];
  const { code, stdout } = await runCommand(deployment.env, args, 'a password with spaces\n');
  t.is(code, 0);
  t.true(await verifyPassword('a password with spaces', stdout.trim()));
  t.is((await runCommand(deployment.env, args)).code, 2);
});

for (const host of ['127.0.0.1', '0.0.0.0']) {
  test(`without credentials the process ends with 1 on ${host} and says what to do`, async (t) => {
    const worker = spawnWorker('dashboard', { ...deployment.env, TIERLINE_DASHBOARD_HOST: host });
    t.is(await worker.ended, 1);
    t.regex(worker.output(), /no credentials/);
    t.regex(worker.output(), /--hash-password/);
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
