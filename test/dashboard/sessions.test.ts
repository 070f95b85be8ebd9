import test from 'ava';
import fastify from 'fastify';
import { loadConfig, type Options } from '../../src/config.ts';
import { addGuard } from '../../src/dashboard/guard.ts';
import type { Sources } from '../../src/dashboard/sources.ts';
import { ownPath } from '../../src/dashboard/sign-in.ts';
import { quietDashboard, type QuietDashboard } from '../helpers/dashboard.ts';
import { createDeployment } from '../helpers/deployment.ts';

const HOUR_S = 3600;
const CREDENTIALS = { dashboardSessionMs: HOUR_S * 1000 };

const deployment = await createDeployment();
const dashboard = await quietDashboard(deployment, CREDENTIALS);
const other = await quietDashboard(deployment, CREDENTIALS);
test.after.always(async () => {
  await dashboard.close();
  await other.close();
  await deployment.close();
});

async function statusAt(to: QuietDashboard, cookie: string): Promise<number> {
  return (await to.request({ url: '/', headers: { cookie } })).statusCode;
}

/** The cookie of a session that began some seconds ago. */
function cookieOf(ageSeconds: number): string {
  const began = Math.round(Date.now() / 1000) - ageSeconds;
  const session = dashboard.app.createSecureSession({ id: 'a-session', __ts: began });
  const name = `tierline-${deployment.options.namespace}`;
  return `${name}=${encodeURIComponent(dashboard.app.encodeSecureSession(session))}`;
}

test('a session is found by its cookie until it is over', async (t) => {
  t.is(await statusAt(dashboard, cookieOf(0)), 200);
  t.is(await statusAt(dashboard, cookieOf(HOUR_S - 60)), 200);
  t.is(await statusAt(dashboard, cookieOf(HOUR_S + 1)), 401);
});

/** What a dashboard that an application mounts makes of cookies. */
async function mountedWith(options: Options) {
  const app = fastify();
  await addGuard(app, { config: loadConfig(options, {}) } as Sources, () => true, '');
  return app;
}

test('with shards a mounted dashboard makes its key from their URLs, and not from the default of DATABASE_URL', async (t) => {
  const [one, same, other, none] = await Promise.all([
    mountedWith({ shards: [{ name: 'a', url: 'postgres://u:one@db/x' }] }),
    mountedWith({ shards: [{ name: 'a', url: 'postgres://u:one@db/x' }] }),
    mountedWith({ shards: [{ name: 'a', url: 'postgres://u:other@db/x' }] }),
    mountedWith({}),
  ]);
  const cookie = one.encodeSecureSession(one.createSecureSession({ id: 'a-session' }));
  t.not(same.decodeSecureSession(cookie), null);
  t.is(other.decodeSecureSession(cookie), null);
  t.is(none.decodeSecureSession(cookie), null);
});

test('a request does not make a session last longer', async (t) => {
  const { headers } = await dashboard.signIn();
  const again = await dashboard.request({ url: '/', headers });
  t.is(again.statusCode, 200);
  t.is(again.headers['set-cookie'], undefined);
});

test('every dashboard with the same credentials knows the session, and that it was signed out', async (t) => {
  const { headers, csrf } = await dashboard.signIn();
  const sent = { ...headers, 'x-csrf-token': csrf };
  t.is(await statusAt(other, headers['cookie'] ?? ''), 200);
  t.is((await other.request({ method: 'POST', url: '/merkle/verify', headers: sent })).statusCode, 303);
  t.is((await other.request({ method: 'POST', url: '/sign-out', headers: sent })).statusCode, 303);
  t.is(await statusAt(dashboard, headers['cookie'] ?? ''), 401);
  t.is(await statusAt(dashboard, cookieOf(0)), 200, 'other sessions stay');
});

test('a cookie that was changed, cut, or made with other credentials is none', async (t) => {
  const stranger = await quietDashboard(deployment, {
    ...CREDENTIALS,
    dashboardToken: 'another-token-of-32-characters-or-more',
  });
  t.teardown(() => stranger.close());
  const [name = '', value = ''] = cookieOf(0).split('=');
  const cut = decodeURIComponent(value);
  const [text = '', nonce = ''] = cut.split(';');
  const forged = [`x${text};${nonce}`, `${text};`, text, `;${nonce}`, `${nonce};${text}`, cut.slice(1), ''];
  for (const one of forged) {
    t.is(await statusAt(dashboard, `${name}=${encodeURIComponent(one)}`), 401, one);
  }
  t.is(await statusAt(dashboard, (await stranger.signIn()).headers['cookie'] ?? ''), 401);
});

test('a session without a sign-in opens nothing', async (t) => {
  const session = dashboard.app.createSecureSession({ _csrf: 'a-secret' });
  const name = `tierline-${deployment.options.namespace}`;
  const value = encodeURIComponent(dashboard.app.encodeSecureSession(session));
  t.is(await statusAt(dashboard, `${name}=${value}`), 401);
});

for (const [next, leadsTo] of [
  ['/', '/'],
  ['/item?id=a%20b', '/item?id=a%20b'],
  ['/merkle?path=uk.nhs', '/merkle?path=uk.nhs'],
  ['https://evil.example/', '/'],
  ['//evil.example/', '/'],
  ['/\\evil.example/', '/'],
  ['/\t/evil.example/', '/'],
  ['/.//evil.example', '/'],
  ['javascript:alert(1)', '/'],
  ['item', '/'],
  ['', '/'],
] as const) {
  test(`a sign-in for ${JSON.stringify(next)} leads to ${leadsTo}`, (t) => {
    t.is(ownPath(next), leadsTo);
  });
}

for (const [next, leadsTo] of [
  ['/tierline/item?id=a', '/tierline/item?id=a'],
  ['/tierline', '/tierline/'],
  ['/elsewhere', '/tierline/'],
  ['/tierline/../elsewhere', '/tierline/'],
  ['/tierlines/', '/tierline/'],
] as const) {
  test(`a sign-in below /tierline for ${next} leads to ${leadsTo}`, (t) => {
    t.is(ownPath(next, '/tierline'), leadsTo);
  });
}
