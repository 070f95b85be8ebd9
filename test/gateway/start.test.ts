import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import test from 'ava';
import { ConfigError } from '../../src/errors.ts';
import { startGateway } from '../../src/gateway/gateway.ts';
import { gatewayTokenList, tokenEntry } from '../../src/gateway-tokens.ts';
import { runCommand } from '../helpers/command-line.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { callerOf, startTestGateway, TOKENS } from '../helpers/gateway.ts';
import { createSetting } from '../helpers/setting.ts';
import { spawnWorker, startWorker } from '../helpers/worker-process.ts';

const deployment = await createDeployment();
test.after.always(() => deployment.close());

test('without tokens the process ends with 1 and says what to do', async (t) => {
  const worker = spawnWorker('gateway', deployment.env);
  t.is(await worker.ended, 1);
  t.regex(worker.output(), /no tokens/);
  t.regex(worker.output(), /tierline gateway token/);
});

test('a token that cannot be read ends it with 1, and its hash is not printed', async (t) => {
  const hash = 'c'.repeat(63);
  const worker = spawnWorker('gateway', { ...deployment.env, TIERLINE_GATEWAY_TOKENS: `a:read:${hash}` });
  t.is(await worker.ended, 1);
  t.regex(worker.output(), /TIERLINE_GATEWAY_TOKENS: entry 1 has a hash that is not 64 hex digits/);
  t.false(worker.output().includes(hash));
});

test('tierline gateway token makes a token with which the gateway lets in', async (t) => {
  const args = ['gateway', 'token', '--name', 'shop', '--scopes', 'read', '--prefix', 'a b,c', '--json'];
  const { code, stdout } = await runCommand(deployment.env, args);
  t.is(code, 0);
  const { token, entry } = JSON.parse(stdout) as { token: string; entry: string };
  t.false(entry.includes(token));
  const gatewayTokens = gatewayTokenList.parse(entry);
  t.like(gatewayTokens[0], { name: 'shop', scopes: ['read'], prefix: 'a b,c' });
  const { call } = await startTestGateway(t, deployment, { gatewayTokens });
  t.is((await call(`/v1/items/${encodeURIComponent('a b,c')}`, { token })).status, 404);
  t.is((await call('/v1/items/a', { token })).status, 403);
  t.is((await runCommand(deployment.env, ['gateway', 'token'])).code, 2);
  t.is((await runCommand(deployment.env, ['gateway', 'token', '--name', 'x', '--scopes', 'all'])).code, 2);
});

test('a port that is taken is told with the option to change', async (t) => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const options = { ...deployment.options, gatewayTokens: TOKENS, gatewayPort: port };
  const error = await t.throwsAsync(startGateway(options), { instanceOf: ConfigError });
  t.regex(error.message, /TIERLINE_GATEWAY_PORT/);
  other.close();
});

for (const gatewayBodyTimeoutMs of [101, 600_000, 2 ** 31 - 1]) {
  test(`a gateway starts with every time for bodies that is allowed: ${gatewayBodyTimeoutMs} ms`, async (t) => {
    const { call } = await startTestGateway(t, deployment, { gatewayBodyTimeoutMs });
    t.is((await call('/v1/items/a')).status, 404);
  });
}

test('I12: a close answers who waits, ends streams, and is harmless twice', async (t) => {
  const { deployment: own } = await createSetting(t);
  const gateway = await startTestGateway(t, own);
  const stream = await gateway.call('/v1/changes');
  const waiting = gateway.send('PUT', '/v1/items/a?wait=settled&timeoutMs=60000', '1');
  await eventually(async () => (await gateway.call('/v1/items/a')).status === 200, 'the write is accepted');
  await Promise.all([gateway.close(), gateway.close()]);
  t.is((await waiting).status, 202);
  await stream.text();
  await t.throwsAsync(gateway.call('/v1/items/a'));
});

test('I12: SIGTERM ends the process with 0, and its probes tell how it is', async (t) => {
  const worker = await startWorker('gateway', {
    ...deployment.env,
    TIERLINE_GATEWAY_PORT: '0',
    TIERLINE_GATEWAY_TOKENS: TOKENS.map(tokenEntry).join(' '),
    TIERLINE_METRICS_PORT: '0',
  });
  const port = /"port":(\d+),"msg":"probes listening"/.exec(worker.output())?.[1];
  const call = callerOf(/"url":"([^"]+)"/.exec(worker.output())?.[1] ?? '');
  await call('/v1/items/none');
  const ready = await fetch(`http://127.0.0.1:${port}/readyz`);
  t.is(ready.status, 200);
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  t.regex(metrics, /tierline_gateway_requests_total\{method="GET",route="\/v1\/items\/:id",status="404"\} 1/);
  t.regex(metrics, /tierline_producer_pressure_ratio/);
  t.regex(metrics, /tierline_l1_items/);
  t.is(await worker.stop(), 0);
  t.regex(worker.output(), /gateway stopped/);
});
