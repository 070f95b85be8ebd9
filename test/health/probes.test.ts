import { randomUUID } from 'node:crypto';
import test from 'ava';
import { startProbes } from '../../src/health/probes.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { ConfigError } from '../../src/errors.ts';
import { startWithProbes } from '../../src/lifecycle/run-process.ts';
import { createRegistry } from '../../src/metrics/registry.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { loadConfig } from '../../src/config.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { probed } from '../helpers/probed-worker.ts';
import { startWorker } from '../helpers/worker-process.ts';
import { closing } from '../helpers/setting.ts';

const TOKEN = `token-${randomUUID()}`;

const deployment = await createDeployment(ONE_LANE);
const drain = await probed('drain', {
  ...deployment.env,
  TIERLINE_METRICS_TOKEN: TOKEN,
  TIERLINE_READY_LAG_MS: '100',
});
test.after.always(async () => {
  await drain?.stop();
  await deployment.close();
});

interface Report {
  readonly ready: boolean;
  readonly checks: readonly { readonly name: string; readonly ok: boolean; readonly detail?: string }[];
}
const readiness = async () => {
  const response = await drain.get('/readyz');
  return { status: response.status, report: (await response.json()) as Report };
};

const ROUTES: readonly (readonly [
  path: string,
  method: string,
  headers: Record<string, string>,
  status: number,
])[] = [
  ['/healthz', 'GET', {}, 200],
  ['/healthz?a=1', 'GET', {}, 200],
  ['/healthz', 'HEAD', {}, 200],
  ['/healthz', 'POST', {}, 405],
  ['/readyz', 'GET', {}, 200],
  ['/readyz', 'DELETE', {}, 405],
  ['/metrics', 'GET', { authorization: `Bearer ${TOKEN}` }, 200],
  ['/metrics', 'GET', { authorization: `bearer ${TOKEN}` }, 200],
  ['/metrics', 'GET', {}, 401],
  ['/metrics', 'GET', { authorization: '' }, 401],
  ['/metrics', 'GET', { authorization: 'Bearer ' }, 401],
  ['/metrics', 'GET', { authorization: `Bearer ${TOKEN}x` }, 401],
  ['/metrics', 'GET', { authorization: `Bearer ${TOKEN.slice(0, -1)}` }, 401],
  ['/metrics', 'GET', { authorization: `Basic ${TOKEN}` }, 401],
  ['/metrics', 'PUT', { authorization: `Bearer ${TOKEN}` }, 405],
  [`/metrics?token=${TOKEN}`, 'GET', {}, 401],
  ['/', 'GET', {}, 404],
  ['/metrics/', 'GET', {}, 404],
  ['/../metrics', 'GET', {}, 401],
];
for (const [path, method, headers, status] of ROUTES) {
  const credentials = headers['authorization']?.replace(TOKEN, '<token>');
  test.serial(
    `${method} ${path.replace(TOKEN, '<token>')} with ${credentials ?? 'nothing'} answers ${status}`,
    async (t) => {
      const response = await drain.get(path, headers, method);
      t.is(response.status, status);
      t.is(response.headers.get('cache-control'), 'no-store');
      t.false((await response.text()).includes(TOKEN));
    },
  );
}

test.serial('readyz names every check', async (t) => {
  const { status, report } = await readiness();
  t.is(status, 200);
  t.deepEqual(report, {
    ready: true,
    checks: ['process', 'redis', 'postgres', 'schema', 'lag'].map((name) => ({ name, ok: true })),
  });
});

test.serial('readyz fails on lag: a write that nobody settles', async (t) => {
  const { redis, keys } = deployment;
  const stamp = (Date.now() - 60_000) * 1000;
  await redis.zadd(keys.inflight, stamp, 'nobody');
  await eventually(async () => (await readiness()).status === 503, 'not ready');
  const { report } = await readiness();
  const failed = report.checks.filter((check) => !check.ok);
  t.deepEqual(
    failed.map((check) => check.name),
    ['lag'],
  );
  t.regex(failed[0]?.detail ?? '', /has waited 6\d{4} ms; the limit is 100 ms/);
  await redis.zrem(keys.inflight, 'nobody');
  await eventually(async () => (await readiness()).status === 200, 'ready again');
});

test.serial('readyz fails on a schema that lacks a migration', async (t) => {
  const { pool } = deployment;
  await pool.query(`UPDATE tierline_migrations SET name = 'gone' WHERE name = '03_dead_letters'`);
  await eventually(async () => (await readiness()).status === 503, 'not ready');
  const { report } = await readiness();
  t.deepEqual(
    report.checks.filter((check) => !check.ok),
    [{ name: 'schema', ok: false, detail: 'migrations have not run: 03_dead_letters' }],
  );
  await pool.query(`UPDATE tierline_migrations SET name = '03_dead_letters' WHERE name = 'gone'`);
  await eventually(async () => (await readiness()).status === 200, 'ready again');
});

test.serial(
  'with no backend at all healthz says alive, readyz says which are away, and neither names an address',
  async (t) => {
    const config = loadConfig({
      ...deployment.options,
      redisUrl: 'redis://user:secret-word@127.0.0.1:1',
      databaseUrl: 'postgres://user:secret-word@127.0.0.1:1/none',
      metricsPort: 0,
    });
    const lines: string[] = [];
    const log = Object.assign(deployment.log.child({}), {
      info: (fields: object) => lines.push(JSON.stringify(fields)),
    });
    const probes = closing(t, await startProbes(config, log, createRegistry('test'), { deployment: true }));
    probes.running();
    const { port } = JSON.parse(lines[0] ?? '{}') as { port: number };
    const get = (path: string) =>
      fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: 'close' } });
    t.is((await get('/healthz')).status, 200);
    const response = await get('/readyz');
    t.is(response.status, 503);
    const text = await response.text();
    t.false(/secret-word|127\.0\.0\.1/.test(text));
    const { checks } = JSON.parse(text) as Report;
    t.deepEqual(
      checks.map((check) => [check.name, check.ok]),
      [
        ['process', true],
        ['redis', false],
        ['postgres', false],
        ['schema', false],
        ['lag', false],
      ],
    );
    t.regex(await (await get('/metrics')).text(), /tierline_backend_up\{backend="redis"\} 0/);
  },
);

test.serial('while the service starts and stops, readyz says so and healthz says alive', async (t) => {
  const config = loadConfig({ ...deployment.options, metricsPort: 0 });
  const lines: string[] = [];
  const log = Object.assign(deployment.log.child({}), {
    info: (fields: object) => lines.push(JSON.stringify(fields)),
  });
  const phases: unknown[] = [];
  const look = async () => {
    const { port } = JSON.parse(lines[0] ?? '{}') as { port: number };
    const get = (path: string) =>
      fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: 'close' } });
    const { checks } = (await (await get('/readyz')).json()) as Report;
    phases.push(checks[0]?.detail ?? checks[0]?.ok, (await get('/healthz')).status);
  };
  const service = await startWithProbes(
    () => startProbes(config, log, createRegistry('test'), { deployment: false }),
    async () => {
      await look();
      return { close: look };
    },
  );
  await look();
  await service.close();
  t.deepEqual(phases, ['starting', 200, true, 200, 'stopping', 200]);
});

const REFUSED: readonly (readonly [name: string, env: Record<string, string>, message: RegExp])[] = [
  ['beyond loopback without a token', { TIERLINE_METRICS_HOST: '0.0.0.0' }, /TIERLINE_METRICS_TOKEN/],
  ['on all IPv6 addresses without a token', { TIERLINE_METRICS_HOST: '::' }, /TIERLINE_METRICS_TOKEN/],
  ['with a short token', { TIERLINE_METRICS_TOKEN: 'short' }, /TIERLINE_METRICS_TOKEN/],
  ['with a port that is none', { TIERLINE_METRICS_PORT: '70000' }, /TIERLINE_METRICS_PORT/],
  [
    'on an address of nobody',
    { TIERLINE_METRICS_HOST: '192.0.2.1', TIERLINE_METRICS_TOKEN: TOKEN },
    /cannot listen/,
  ],
];
for (const [name, env, message] of REFUSED) {
  test.serial(`a worker does not start ${name}`, async (t) => {
    const start = startWorker('drain', { ...deployment.env, TIERLINE_METRICS_PORT: '0', ...env });
    const error = await t.throwsAsync(start);
    t.regex(error?.message ?? '', message);
    t.regex(error?.message ?? '', /ended with 1/);
    t.false(error?.message.includes(TOKEN));
  });
}

test.serial('beyond loopback with a token it starts', async (t) => {
  const worker = await probed('drain', {
    ...deployment.env,
    TIERLINE_METRICS_HOST: '0.0.0.0',
    TIERLINE_METRICS_TOKEN: TOKEN,
  });
  t.is((await worker.get('/metrics')).status, 401);
  t.is((await worker.get('/healthz')).status, 200);
  t.is(await worker.stop(), 0);
});

test.serial('the port in use is an error that says so, and nothing else was started', async (t) => {
  const { port } = new URL(drain.origin);
  let started = false;
  const config = loadConfig({ ...deployment.options, metricsPort: Number(port) });
  const start = startWithProbes(
    () => startProbes(config, deployment.log, createRegistry('test'), { deployment: false }),
    () => {
      started = true;
      return startDrain(deployment.options);
    },
  );
  await t.throwsAsync(start, { instanceOf: ConfigError, message: /EADDRINUSE/ });
  t.false(started);
});

test.serial('no token and no payload reaches the log of a worker', async (t) => {
  const producer = await openProducer(deployment.options);
  await (await producer.submit({ id: 'secret', content: 'payload-of-a-user' })).settled();
  await producer.close();
  t.is(await drain.stop(), 0);
  t.false(drain.output().includes(TOKEN));
  t.false(drain.output().includes('payload-of-a-user'));
});
