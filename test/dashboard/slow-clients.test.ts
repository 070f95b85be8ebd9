import type { AddressInfo } from 'node:net';
import test from 'ava';
import { createProbeServer } from '../../src/health/probes.ts';
import { createLogger } from '../../src/log.ts';
import { createRegistry } from '../../src/metrics/registry.ts';
import { quietDashboard, TOKEN } from '../helpers/dashboard.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { headOf, sendSlowly } from '../helpers/slow-request.ts';
import { closing } from '../helpers/setting.ts';

const REQUEST_TIMEOUT_MS = 400;
const BODY_BYTES = 4096;
const SIGNED_IN = [`Authorization: Bearer ${TOKEN}`];

// Each test waits for connections to be closed: without a bound they stay open, and the test times out.

test('I10: a body that never ends keeps no connection of the dashboard, whatever the route', async (t) => {
  const deployment = closing(t, await createDeployment());
  const dashboard = closing(t, await quietDashboard(deployment, {}, REQUEST_TIMEOUT_MS));
  await dashboard.app.listen({ port: 0, host: '127.0.0.1' });
  const { port } = dashboard.app.server.address() as AddressInfo;
  const targets = dashboard.routes.map(({ method, url }) => ({
    method,
    url: url.replaceAll(/:\w+/g, '1').replace('*', 'x'),
  }));
  t.true(targets.some(({ method, url }) => method === 'POST' && url === '/sign-in'));
  await Promise.all(
    targets.flatMap(({ method, url }) => [
      sendSlowly(port, headOf(method, url, BODY_BYTES)),
      sendSlowly(port, headOf(method, url, BODY_BYTES, SIGNED_IN)),
    ]),
  );
  await sendSlowly(port, 'GET /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ');
  const quick = await fetch(`http://127.0.0.1:${port}/sign-in`);
  t.is(quick.status, 200);
});

test('I10: nor one of the probes', async (t) => {
  const sources = {
    readiness: { report: () => Promise.resolve({ ready: true, checks: [] }) },
    metrics: createRegistry('test'),
    log: createLogger('test', 'silent'),
  };
  const server = closing(t, await createProbeServer(sources, undefined, REQUEST_TIMEOUT_MS));
  await server.listen({ port: 0, host: '127.0.0.1' });
  const { port } = server.server.address() as AddressInfo;
  await Promise.all(
    ['GET', 'POST', 'HEAD', 'DELETE'].flatMap((method) =>
      ['/healthz', '/readyz', '/metrics', '/nothing'].map((url) =>
        sendSlowly(port, headOf(method, url, BODY_BYTES)),
      ),
    ),
  );
  await sendSlowly(port, 'GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ');
  t.is((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
});
