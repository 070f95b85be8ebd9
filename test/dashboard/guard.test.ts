import test from 'ava';
import { MAINTENANCE_QUEUE, RANGES_QUEUE, WRITES_QUEUE } from '../../src/keys.ts';
import { BEARER, TOKEN, quietDashboard, type QuietDashboard } from '../helpers/dashboard.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { promtoolComplaints, undocumented } from '../helpers/promtool.ts';
import { eventually } from '../helpers/eventually.ts';
import { closing } from '../helpers/setting.ts';

const deployment = await createDeployment();
const dashboard = await quietDashboard(deployment);
const readOnly = await quietDashboard(deployment, { dashboardReadOnly: true });
test.after.always(async () => {
  await dashboard.close();
  await readOnly.close();
  await deployment.close();
});

/** Everything that may be had without credentials. */
const PUBLIC = new Set([
  'GET /healthz',
  'GET /readyz',
  'GET /sign-in',
  'POST /sign-in',
  'GET /assets/style.css',
  'GET /assets/icon.svg',
]);
/** What may be done in read-only mode although it is no read. */
const HARMLESS = new Set(['POST /sign-in', 'POST /sign-out']);

type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH';
interface Target {
  readonly method: Method;
  readonly url: string;
  readonly name: string;
}

/** Every route there is, with something in the place of its parameters, and some that do not exist. */
function targets(): Target[] {
  const routes = dashboard.routes
    .filter(({ method }) => method !== 'HEAD')
    .map(({ method, url }) => ({
      method: method as Method,
      url: url.replaceAll(/:\w+/g, '1').replace(/\*$/, 'js/main.js'),
      name: `${method} ${url}`,
    }));
  const unknown = (['GET', 'POST', 'PUT'] as const).flatMap((method) =>
    ['/nothing', '/queues/', '/queues/api/nothing', '/queues/static/nothing.js', '/assets/nothing'].map(
      (url) => ({
        method,
        url,
        name: `${method} ${url}`,
      }),
    ),
  );
  return [...routes, ...unknown];
}

const isRead = ({ method }: Target) => method === 'GET';

test('the table below covers Bull Board: its page, its API and its static files', (t) => {
  const names = targets().map(({ name }) => name);
  for (const expected of [
    'GET /queues',
    'GET /queues/queue/:queueName',
    'GET /queues/api/queues',
    'PUT /queues/api/queues/:queueName/pause',
    'PATCH /queues/api/queues/:queueName/:jobId/update-data',
    'GET /queues/static/*',
    'GET /metrics',
    'GET /series.json',
    'POST /merkle/verify',
    'POST /peers/compare',
    'POST /dead-letters/:seq/replay',
  ]) {
    t.true(names.includes(expected), expected);
  }
  t.true(names.length > 50);
  for (const name of PUBLIC) t.true(names.includes(name), name);
});

test('without credentials every route answers 401, or leads a browser to the sign-in page', async (t) => {
  for (const target of targets().filter(({ name }) => !PUBLIC.has(name))) {
    const { method, url, name } = target;
    const plain = await dashboard.request({ method, url });
    t.is(plain.statusCode, 401, name);
    t.is(plain.headers['www-authenticate'], 'Bearer realm="tierline"', name);
    const browser = await dashboard.request({ method, url, headers: { accept: 'text/html' } });
    t.is(browser.statusCode, isRead(target) ? 303 : 401, name);
    if (isRead(target)) t.is(browser.headers.location, `/sign-in?next=${encodeURIComponent(url)}`, name);
  }
});

for (const [what, headers] of [
  ['a wrong token', { authorization: 'Bearer a-token-of-more-than-33-characters' }],
  ['an empty token', { authorization: 'Bearer ' }],
  ['the password of HTTP Basic', { authorization: `Basic ${Buffer.from('a:b').toString('base64')}` }],
] as const) {
  test(`with ${what} every route answers 401`, async (t) => {
    for (const { method, url, name } of targets().filter(({ name }) => !PUBLIC.has(name))) {
      t.is((await dashboard.request({ method, url, headers })).statusCode, 401, name);
    }
  });
}

test('with a cookie of a dashboard with other credentials every route answers 401', async (t) => {
  const other = closing(
    t,
    await quietDashboard(deployment, {
      dashboardToken: 'another-token-of-32-characters-or-more',
    }),
  );
  const { headers } = await other.signIn();
  for (const { method, url, name } of targets().filter(({ name }) => !PUBLIC.has(name))) {
    t.is((await dashboard.request({ method, url, headers })).statusCode, 401, name);
  }
});

test('what changes something answers 403 to a signed-in browser that does not send the token of its page', async (t) => {
  const { headers, csrf } = await dashboard.signIn();
  const changes = targets().filter((target) => !isRead(target));
  for (const { method, url, name } of changes) {
    for (const extra of [{}, { 'x-csrf-token': 'x' }, { 'x-csrf-token': `${csrf}x` }]) {
      const { statusCode } = await dashboard.request({ method, url, headers: { ...headers, ...extra } });
      // There is nothing to guard where nothing is.
      t.is(statusCode, 403, `${name} ${JSON.stringify(extra)}`);
    }
  }
});

test('what changes something answers 403 when it comes from another site, also with the token', async (t) => {
  const { headers, csrf } = await dashboard.signIn();
  for (const { method, url, name } of targets().filter((target) => !isRead(target))) {
    for (const from of [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { origin: 'https://evil.example' },
      { origin: 'null' },
    ]) {
      const sent = { ...headers, ...from, 'x-csrf-token': csrf };
      t.is(
        (await dashboard.request({ method, url, headers: sent })).statusCode,
        403,
        `${name} ${JSON.stringify(from)}`,
      );
    }
  }
});

test('in read-only mode every change answers 403, for browsers and for the bearer token', async (t) => {
  const { headers, csrf } = await readOnly.signIn();
  for (const target of targets().filter((one) => !isRead(one) && !HARMLESS.has(one.name))) {
    const { method, url, name } = target;
    for (const sent of [{ ...headers, 'x-csrf-token': csrf }, BEARER]) {
      t.is((await readOnly.request({ method, url, headers: sent })).statusCode, 403, name);
    }
  }
  const page = await readOnly.request({ method: 'GET', url: '/merkle', headers });
  t.is(page.statusCode, 200);
  t.notRegex(page.body, /action="\/merkle\/verify"/);
});

test('Bull Board shows no button that would be refused: it only shows, and its API only reads', async (t) => {
  const { headers, csrf } = await dashboard.signIn();
  const sent = { ...headers, 'x-csrf-token': csrf, origin: 'http://localhost', host: 'localhost' };
  for (const target of targets().filter((one) => !isRead(one) && one.name.includes('/queues/api/queues'))) {
    const { statusCode } = await dashboard.request({
      method: target.method,
      url: target.url.replace('/api/queues/1', '/api/queues/writes'),
      headers: { ...sent, 'content-type': 'application/json' },
      payload: '{}',
    });
    t.is(statusCode, 403, target.name);
  }
  const { queues } = (await dashboard.request({ url: '/queues/api/queues', headers })).json<{
    queues: { name: string; readOnlyMode: boolean }[];
  }>();
  // Bull Board's page shows what changes something to queues that are not read-only.
  const { count } = deployment.lanes;
  const ofLanes = (queue: string) =>
    Array.from({ length: count }, (_, lane) => (count === 1 ? queue : `partition-${lane}.${queue}`));
  t.deepEqual(
    queues.map(({ name, readOnlyMode }) => [name, readOnlyMode]),
    [...ofLanes(WRITES_QUEUE), ...ofLanes(RANGES_QUEUE), MAINTENANCE_QUEUE].map((name) => [name, true]),
  );
});

test('draining is paused, resumed and its failed jobs put back from the overview', async (t) => {
  const { headers, csrf } = await dashboard.signIn();
  const press = async (url: string) => {
    const sent = { ...headers, 'x-csrf-token': csrf };
    t.is((await dashboard.request({ method: 'POST', url, headers: sent })).statusCode, 303, url);
    return (await dashboard.request({ url: '/', headers })).body;
  };
  const { redis, keys } = deployment;
  const failed = `${keys.queuePrefix}:writes:failed`;
  await redis.zadd(failed, 1, 'a-job');
  await redis.hset(`${keys.queuePrefix}:writes:a-job`, {
    name: 'chunk',
    data: '{}',
    opts: '{}',
    timestamp: 1,
  });
  const paused = await press('/draining/pause');
  t.regex(paused, /Draining is paused/);
  t.regex(paused, /Resume draining/);
  t.regex(paused, /Put failed jobs back/);
  t.notRegex(await press('/draining/retry'), /Put failed jobs back/);
  t.is(await redis.zcard(failed), 0);
  const resumed = await press('/draining/resume');
  t.notRegex(resumed, /Draining is paused/);
  t.regex(resumed, /Pause draining/);
  t.notRegex((await readOnly.request({ url: '/', headers: BEARER })).body, /\/draining\//);
});

test('I10: a prefix that no id can have is refused, and the longest one that an id can have is a small page', async (t) => {
  const get = (path: string) =>
    dashboard.request({ url: `/merkle?path=${encodeURIComponent(path)}`, headers: BEARER });
  // 503 when a busy machine takes too long for the first connections to Postgres.
  await eventually(async () => (await get('a')).statusCode === 200, 'Postgres answers');
  const longest = await get('a.'.repeat(127));
  t.is(longest.statusCode, 200);
  const shortest = await get('a');
  const shown = longest.body.length - shortest.body.length;
  t.true(shown < 254 * 254, `${shown} characters for 254 of the prefix`);
  for (const path of ['a.'.repeat(128), 'é'.repeat(128), '患.'.repeat(64)]) {
    t.is((await get(path)).statusCode, 400, path);
  }
  const after = await dashboard.request({ url: `/merkle?after=${'a.'.repeat(128)}`, headers: BEARER });
  t.is(after.statusCode, 400);
});

test('the bearer token opens every page and needs no token of a form', async (t) => {
  for (const url of [
    '/',
    '/item',
    '/item?id=x',
    '/merkle',
    '/peers',
    '/dead-letters',
    '/series.json',
    '/metrics',
    '/queues/',
    '/queues/api/queues',
  ]) {
    t.is((await dashboard.request({ method: 'GET', url, headers: BEARER })).statusCode, 200, url);
  }
  const verify = await dashboard.request({ method: 'POST', url: '/merkle/verify', headers: BEARER });
  t.is(verify.statusCode, 303);
});

test('promtool accepts the metrics of the dashboard', async (t) => {
  const { body } = await dashboard.request({ method: 'GET', url: '/metrics', headers: BEARER });
  t.true(body.includes('tierline_build_info{process="dashboard",version="'));
  t.deepEqual(undocumented(body), []);
  t.is(promtoolComplaints(body), '');
});

test('/healthz and /readyz answer without credentials and tell no address', async (t) => {
  t.deepEqual((await dashboard.request({ method: 'GET', url: '/healthz' })).json(), { status: 'alive' });
  const ready = await dashboard.request({ method: 'GET', url: '/readyz' });
  t.true([200, 503].includes(ready.statusCode));
  t.notRegex(ready.body, /redis:\/\/|postgres:\/\/|127\.0\.0\.1/);
});

test('every answer has the headers that keep scripts, frames and caches out', async (t) => {
  for (const { method, url, name } of targets()) {
    const { headers } = await dashboard.request({ method, url, headers: method === 'GET' ? BEARER : {} });
    t.regex(String(headers['content-security-policy']), /default-src 'self'/, name);
    t.notRegex(String(headers['content-security-policy']), /unsafe|https?:|\*/, name);
    t.is(headers['x-content-type-options'], 'nosniff', name);
    t.is(headers['x-frame-options'], 'DENY', name);
    t.is(headers['referrer-policy'], 'same-origin', name);
    if (!url.startsWith('/assets/') && !url.startsWith('/queues/static'))
      t.is(headers['cache-control'], 'no-store', name);
  }
});

function signInLeadingAway(to: QuietDashboard) {
  return to.request({
    method: 'POST',
    url: '/sign-in',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: new URLSearchParams({ secret: TOKEN, next: '//evil.example' }).toString(),
  });
}

test('a sign-in sets a cookie that scripts cannot read and other sites cannot send', async (t) => {
  const https = closing(t, await quietDashboard(deployment, { dashboardHttps: true }));
  const plain = await signInLeadingAway(dashboard);
  t.is(plain.headers.location, '/');
  t.like(plain.cookies[0], { httpOnly: true, sameSite: 'Strict', path: '/' });
  t.is(plain.cookies[0]?.['secure'], undefined);
  const secure = await signInLeadingAway(https);
  t.true(secure.cookies[0]?.name.startsWith('__Host-'));
  t.like(secure.cookies[0], { httpOnly: true, sameSite: 'Strict', path: '/', secure: true });
  t.regex(String(secure.headers['strict-transport-security']), /^max-age=\d+$/);
});

test('after signing out the cookie is worth nothing', async (t) => {
  const { headers, csrf } = await dashboard.signIn();
  t.is((await dashboard.request({ method: 'GET', url: '/', headers })).statusCode, 200);
  const out = await dashboard.request({
    method: 'POST',
    url: '/sign-out',
    headers: { ...headers, 'x-csrf-token': csrf },
  });
  t.is(out.statusCode, 303);
  t.is((await dashboard.request({ method: 'GET', url: '/', headers })).statusCode, 401);
});

test('the eleventh attempt to sign in within a minute is turned away', async (t) => {
  const guessed = closing(t, await quietDashboard(deployment));
  const attempt = (remoteAddress: string) =>
    guessed.request({
      method: 'POST',
      url: '/sign-in',
      remoteAddress,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      payload: 'secret=guess',
    });
  for (let i = 0; i < 10; i++) t.is((await attempt('192.0.2.1')).statusCode, 401);
  t.is((await attempt('192.0.2.1')).statusCode, 429);
  t.is((await attempt('192.0.2.2')).statusCode, 401, 'others are not locked out');
});
