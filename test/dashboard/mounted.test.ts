import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import cookie from '@fastify/cookie';
import formbody from '@fastify/formbody';
import helmet from '@fastify/helmet';
import test, { type ExecutionContext } from 'ava';
import express from 'express';
import fastify from 'fastify';
import { dashboard, openDashboard, type DashboardOptions } from '../../src/dashboard/dashboard.ts';
import { ConfigError } from '../../src/errors.ts';
import { launchBrowser, watch } from '../helpers/browser.ts';
import { TOKEN } from '../helpers/dashboard.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { closing } from '../helpers/setting.ts';

const BASE = '/inside/tierline';
/** What the application itself asks for. */
const ADMIN = { authorization: 'Basic YWRtaW46c2VjcmV0' };
const SHOTS = join(tmpdir(), 'tierline-dashboard');

mkdirSync(SHOTS, { recursive: true });
const deployment = await createDeployment();
test.after.always(() => deployment.close());

type Options = DashboardOptions<{ readonly headers: IncomingMessage['headers'] }>;
interface Application {
  readonly origin: string;
  close(): Promise<void>;
}

async function listening(listener: RequestListener): Promise<Server> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

const originOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

/** Applications that mount the dashboard. Each answers '/' itself and reads forms of its own. */
const APPLICATIONS: Readonly<Record<string, (options: Options) => Promise<Application>>> = {
  async http(options) {
    const mounted = await openDashboard({ ...options, basePath: BASE });
    const server = await listening((request, response) => {
      if (request.url?.startsWith(BASE) === true) mounted.handler(request, response);
      else response.end('the application');
    });
    return { origin: originOf(server), close: () => closeBoth(server, mounted) };
  },
  async express(options) {
    const mounted = await openDashboard({ ...options, basePath: BASE });
    const app = express();
    app.use(express.urlencoded({ extended: true }));
    app.get('/', (_request, response) => void response.send('the application'));
    const inside = express.Router();
    inside.use('/tierline', mounted.handler);
    app.use('/inside', inside);
    const server = await listening(app);
    return { origin: originOf(server), close: () => closeBoth(server, mounted) };
  },
  async fastify(options) {
    const app = fastify();
    await app.register(helmet, { contentSecurityPolicy: { directives: { imgSrc: ['https:'] } } });
    await app.register(cookie);
    await app.register(formbody);
    app.setErrorHandler((_error, _request, reply) => reply.code(418).send('of the application'));
    app.get('/', () => 'the application');
    await app.register(
      async (inside) => {
        const { logLevel = 'silent' } = options;
        await inside.register(dashboard, { ...options, logLevel, prefix: '/tierline' });
      },
      { prefix: '/inside' },
    );
    await app.listen({ port: 0, host: '127.0.0.1' });
    return { origin: originOf(app.server), close: () => app.close() };
  },
};

async function closeBoth(server: Server, mounted: { close(): Promise<void> }): Promise<void> {
  server.close();
  server.closeAllConnections();
  await mounted.close();
}

const isAdmin: Options['authenticate'] = ({ headers }) =>
  Promise.resolve(headers.authorization === ADMIN.authorization);

async function start(t: ExecutionContext, name: string, extra: Options): Promise<Application> {
  const application = await APPLICATIONS[name]?.({ ...deployment.options, ...extra });
  if (application === undefined) throw new Error(name);
  return closing(t, application);
}

const linksOf = (page: string) =>
  [...page.matchAll(/(?:href|src|action)="([^"]*)"/g)].map(([, link = '']) => link.replaceAll('&amp;', '&'));

for (const name of Object.keys(APPLICATIONS)) {
  test.serial(`${name}: the application decides who sees the dashboard, down to its assets`, async (t) => {
    const { origin } = await start(t, name, { authenticate: isAdmin, dashboardToken: TOKEN });
    const paths = [
      '',
      '/',
      '/item',
      '/healthz',
      '/metrics',
      '/assets/style.css',
      '/sign-in',
      '/queues/',
      '/no',
    ];
    for (const path of paths) {
      t.is((await fetch(origin + BASE + path)).status, 401, path);
      const token = await fetch(origin + BASE + path, { headers: { authorization: `Bearer ${TOKEN}` } });
      t.is(token.status, 401, path);
    }
    t.is(await (await fetch(`${origin}/`)).text(), 'the application');
    const page = await fetch(`${origin}${BASE}/`, { headers: ADMIN });
    t.is(page.status, 200);
    t.regex(page.headers.get('content-security-policy') ?? '', /^default-src 'self';/);
    t.notRegex(await page.text(), /sign-out|sign-in/);
    t.is((await fetch(`${origin}${BASE}/sign-in`, { headers: ADMIN })).status, 404);
    const missing = await fetch(`${origin}${BASE}/no`, { headers: { ...ADMIN, accept: 'text/html' } });
    t.is(missing.status, 404);
    t.regex(await missing.text(), /There is no such page/);
  });

  test.serial(
    `${name}: every link of every page stays below the base path and leads somewhere`,
    async (t) => {
      const { origin } = await start(t, name, { authenticate: isAdmin });
      const get = (path: string) => fetch(origin + path, { headers: { ...ADMIN, accept: 'text/html' } });
      const seen = new Set([`${BASE}/`]);
      for (const path of seen) {
        const response = await get(path);
        t.is(response.status, 200, path);
        if (
          path.startsWith(`${BASE}/queues`) ||
          response.headers.get('content-type')?.includes('html') !== true
        )
          continue;
        const links = linksOf(await response.text()).filter((link) => !link.startsWith('#'));
        for (const link of links) t.true(link.startsWith(`${BASE}/`), `${link} on ${path}`);
        const actions = /\/(draining|verify|replay)/;
        for (const link of links.filter((one) => !actions.test(one))) seen.add(link.replace(/#.*/, ''));
      }
      t.true(seen.size > 7, `${seen.size} pages and assets`);
      const board = await (await get(`${BASE}/queues/`)).text();
      t.regex(board, new RegExp(`<base href="${BASE}/queues/?"`));
      t.is((await get(`${BASE}/series.json`)).status, 200);
    },
  );

  test.serial(`${name}: a button works with the token of its page, and without it is refused`, async (t) => {
    const { origin } = await start(t, name, { authenticate: isAdmin });
    const page = await fetch(`${origin}${BASE}/merkle`, { headers: ADMIN });
    const csrf = /name="csrf" value="([^"]+)"/.exec(await page.text())?.[1] ?? '';
    const sent = { ...ADMIN, cookie: page.headers.get('set-cookie')?.split(';')[0] ?? '' };
    const press = (fields: Record<string, string>, headers: Record<string, string> = {}) =>
      fetch(`${origin}${BASE}/merkle/verify`, {
        method: 'POST',
        redirect: 'manual',
        headers: { ...sent, ...headers },
        body: new URLSearchParams(fields),
      });
    const pressed = await press({ csrf });
    t.is(pressed.status, 303);
    t.is(pressed.headers.get('location'), `${BASE}/merkle#verify`);
    t.is((await press({})).status, 403);
    t.is((await press({ csrf: `${csrf}x` })).status, 403);
    t.is((await press({ csrf }, { 'sec-fetch-site': 'cross-site' })).status, 403);
    t.is((await press({ csrf }, { authorization: 'Basic eA==' })).status, 401);
  });

  test.serial(
    `${name}: with our credentials the sign-in page leads back to the page that was asked for`,
    async (t) => {
      const { origin } = await start(t, name, { dashboardToken: TOKEN });
      const asked = `${BASE}/item?id=x`;
      const led = await fetch(origin + asked, { redirect: 'manual', headers: { accept: 'text/html' } });
      t.is(led.headers.get('location'), `${BASE}/sign-in?next=${encodeURIComponent(asked)}`);
      const form = await (await fetch(`${origin}${led.headers.get('location')}`)).text();
      for (const link of linksOf(form)) t.true(link.startsWith(`${BASE}/`) || link === '#content', link);
      const signedIn = await fetch(`${origin}${BASE}/sign-in`, {
        method: 'POST',
        redirect: 'manual',
        body: new URLSearchParams({ secret: TOKEN, next: asked }),
      });
      t.is(signedIn.headers.get('location'), asked);
      const headers = { cookie: signedIn.headers.get('set-cookie')?.split(';')[0] ?? '' };
      t.is((await fetch(origin + asked, { headers })).status, 200);
      const wrong = { method: 'POST', body: new URLSearchParams({ secret: 'no' }) };
      t.is((await fetch(`${origin}${BASE}/sign-in`, wrong)).status, 401);
    },
  );

  test.serial(`${name}: without credentials and without authenticate there is no dashboard`, async (t) => {
    const error = await t.throwsAsync(start(t, name, {}), { instanceOf: ConfigError });
    t.regex(error.message, /authenticate/);
  });
}

test.serial('a base path that is none is refused', async (t) => {
  for (const basePath of ['tierline', '/:tenant', '/a b', '/<script>', '/a//b', 7 as unknown as string]) {
    const opening = openDashboard({ ...deployment.options, basePath, authenticate: () => true });
    await t.throwsAsync(opening, { instanceOf: ConfigError, message: /basePath/ });
  }
  const authenticate = 'yes' as unknown as () => boolean;
  await t.throwsAsync(openDashboard({ ...deployment.options, authenticate }), { instanceOf: ConfigError });
});

test.serial('only true lets in, and an error of authenticate lets nobody in', async (t) => {
  for (const [answer, status] of [
    [() => 1 as unknown as boolean, 401],
    [() => ({}) as unknown as boolean, 401],
    [() => Promise.reject(new Error('the directory is away')), 500],
  ] as const) {
    const { origin } = await start(t, 'http', { authenticate: answer });
    const response = await fetch(`${origin}${BASE}/`);
    t.is(response.status, status);
    t.notRegex(await response.text(), /directory/);
  }
});

test.serial('in a browser the mounted pages draw their plots, and Bull Board its queues', async (t) => {
  const { origin } = await start(t, 'express', { authenticate: isAdmin });
  const browser = closing(t, await launchBrowser());
  const context = await browser.newContext({
    extraHTTPHeaders: ADMIN,
    viewport: { width: 1280, height: 900 },
  });
  const seen = watch(context, origin);
  const page = await context.newPage();
  await page.goto(`${origin}${BASE}`);
  await page.locator('[data-plot=throughput] canvas').waitFor();
  await page.screenshot({ path: join(SHOTS, 'mounted-overview.png'), fullPage: true });
  await page.getByRole('link', { name: 'Queues' }).click();
  await page
    .getByRole('link', { name: /writes/ })
    .first()
    .click();
  await page.waitForURL(`**${BASE}/queues/queue/*writes**`);
  await page.screenshot({ path: join(SHOTS, 'mounted-board.png') });
  await page.getByRole('link', { name: 'Tierline queues' }).first().click();
  await page.goto(`${origin}${BASE}/merkle`);
  await page.getByRole('button', { name: 'Verify now' }).click();
  await page.waitForURL(`**${BASE}/merkle#verify`);
  t.deepEqual(seen.complaints, []);
});
