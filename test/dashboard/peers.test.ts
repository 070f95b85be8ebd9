import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { loadConfig, type Options } from '../../src/config.ts';
import { UNOBSERVED_CHORES } from '../../src/maintenance/chores.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { compareWithPeer } from '../../src/peers/compare.ts';
import { openPeer } from '../../src/peers/http-peer.ts';
import { openLocalPeer } from '../../src/peers/local-peer.ts';
import { repair } from '../../src/merkle/repair.ts';
import { launchBrowser, seriousFindings, watch } from '../helpers/browser.ts';
import { BEARER, quietDashboard, type QuietDashboard, TOKEN } from '../helpers/dashboard.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import type { TestOp } from '../helpers/operations.ts';
import { createTwoSides, type TwoSides, writeRows } from '../helpers/peers.ts';
import { closing } from '../helpers/setting.ts';
import { startWorker } from '../helpers/worker-process.ts';

const SHOTS = join(tmpdir(), 'tierline-dashboard');
const first = (Date.now() - 60_000) * 1000;
const HOSTILE = `<img src=x onerror="document.title='owned'">`;
const json = (id: string, stamp: number, state?: string): TestOp => ({
  id,
  stamp,
  kind: 'json',
  body: '1',
  ...(state !== undefined && { state }),
});

/** A maintenance process as `tierline maintenance` starts it, without following. */
async function maintain(t: ExecutionContext, deployment: Deployment, options: Options): Promise<void> {
  const config = loadConfig(options);
  const { signal } = new AbortController();
  const compare = (name: string) => compareWithPeer(config, deployment.log, name, signal);
  closing(t, await startMaintenance(options, UNOBSERVED_CHORES, compare));
}

async function setUp(t: ExecutionContext) {
  const sides = await createTwoSides(t);
  const { deployment } = sides.own;
  await maintain(t, deployment, sides.options);
  const dashboard = closing(t, await quietDashboard(deployment, sides.options));
  return { ...sides, dashboard };
}

const read = async (dashboard: QuietDashboard) =>
  (await dashboard.request({ url: '/peers', headers: BEARER })).body;

function press(dashboard: QuietDashboard, body: string, headers: Record<string, string> = BEARER) {
  return dashboard.request({
    method: 'POST',
    url: '/peers/compare',
    headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' },
    payload: body,
  });
}

/** Asks for a comparison and returns the page that shows how it ended. */
async function compare(dashboard: QuietDashboard, told: RegExp): Promise<string> {
  const pressed = await press(dashboard, 'peer=eu');
  if (pressed.statusCode !== 303) throw new Error(`HTTP ${pressed.statusCode}`);
  await eventually(async () => told.test(await read(dashboard)), `the page tells ${told}`, 60_000);
  return read(dashboard);
}

async function diverge({ own, other }: Pick<TwoSides, 'own' | 'other'>): Promise<void> {
  await writeRows(own, [
    json('same', first),
    json('only-here', first + 1),
    json(HOSTILE, first + 2),
    json('gone-there', first + 3),
    json('crossed', first + 4),
    { id: 'crossed', stamp: first + 9, kind: 'state', state: 'x' },
    { id: 'deleted-here', stamp: first + 5, kind: 'delete' },
  ]);
  await writeRows(other, [
    json('same', first),
    json('only-there', first + 1),
    json(HOSTILE, first + 1),
    json('gone-there', first + 3),
    { id: 'gone-there', stamp: first + 6, kind: 'delete' },
    json('crossed', first + 7),
  ]);
}

/** The kind that the table has for an id. */
function kindOf(page: string, id: string): string | undefined {
  return new RegExp(`>${id}</a></th><td>([^<]+)</td>`).exec(page)?.[1];
}

test('a comparison names the rows that differ and which side has what, deletions too, and moves nothing', async (t) => {
  const { own, other, link, options, dashboard } = await setUp(t);
  t.regex(await read(dashboard), /Last agreement.*never.*No comparison has been asked for lately/s);
  await diverge({ own, other });
  const page = await compare(dashboard, /6 rows differ/);
  t.is(kindOf(page, 'only-here'), 'missing there');
  t.is(kindOf(page, 'only-there'), 'missing here');
  t.is(kindOf(page, 'gone-there'), 'older here');
  t.is(kindOf(page, '&lt;img src=x onerror=&quot;document.title=&#39;owned&#39;&quot;&gt;'), 'older there');
  t.is(kindOf(page, 'crossed'), 'older here and there');
  t.is(kindOf(page, 'deleted-here'), 'missing there');
  t.is(kindOf(page, 'same'), undefined);
  t.false(page.includes(HOSTILE));
  t.regex(page, new RegExp(`<code>${first + 6}</code> deleted`));
  t.regex(page, /Last agreement.*never/s, 'nothing was moved, and the two do not agree');

  const here = own.use(await openLocalPeer(options));
  const there = openPeer(link.url, { token: 'peer' });
  t.teardown(() => there.close());
  t.true((await repair(here, there)).equal);
  const after = await compare(dashboard, /pill normal">equal/);
  t.notRegex(after, /rows differ|only-here/);
  t.regex(after, /Last agreement<\/h3><p class="figure"><time/);
});

test('of many rows that differ a hundred are named', async (t) => {
  const { other, dashboard } = await setUp(t);
  await writeRows(
    other,
    Array.from({ length: 130 }, (_, i) => json(`id.${i}`, first + i)),
  );
  const page = await compare(dashboard, /at least 100 rows differ/);
  t.is(page.match(/<td>missing here<\/td>/g)?.length, 100);
});

test('a peer that is away is told in words, by the page and by the comparison, with what to do', async (t) => {
  const { own, link, options, dashboard } = await setUp(t);
  await link.refuse();
  const page = await compare(dashboard, /pill critical">failed/);
  t.regex(
    page,
    /The peer at http:\/\/127\.0\.0\.1:\d+\/ cannot be asked: .*ECONNREFUSED.*Check that its gateway runs/,
  );
  t.regex(page, /unknown.*until its gateway answers/s);
  await eventually(
    async () => /The gateway cannot be asked: The peer at .*ECONNREFUSED/.test(await read(dashboard)),
    'the page tells that the gateway is away',
    60_000,
  );
  await link.open();
  await compare(dashboard, /pill normal">equal/);
  await link.refuse();
  await eventually(
    async () => /its gateway does not answer/.test(await read(dashboard)),
    'the page tells that the gateway is away again',
    60_000,
  );
  t.regex(await read(dashboard), /Last agreement<\/h3><p class="figure"><time/);
  const fresh = closing(t, await quietDashboard(own.deployment, options));
  t.regex(
    await read(fresh),
    /Last agreement<\/h3><p class="figure"><time/,
    'the last comparison told the deployment',
  );
});

test('a name that is not configured is no peer, for the page and for maintenance', async (t) => {
  const { own, options, dashboard } = await setUp(t);
  for (const body of [
    'peer=us',
    'peer=',
    'peer=eu&peer=eu',
    'peer=__proto__',
    `peer=${encodeURIComponent(HOSTILE)}`,
    '',
  ]) {
    const answer = await press(dashboard, body);
    t.is(answer.statusCode, 404, body);
    t.regex(answer.body, /TIERLINE_PEERS has no peer of this name/);
  }
  // A dashboard that was configured otherwise than maintenance.
  const other = closing(
    t,
    await quietDashboard(own.deployment, {
      ...options,
      peers: [{ name: 'us', url: 'http://127.0.0.1:1' }],
      peerTokens: [],
    }),
  );
  t.is((await press(other, 'peer=us')).statusCode, 303);
  await eventually(
    async () => /failed.*There is no such peer\. Name one of TIERLINE_PEERS/.test(await read(other)),
    'maintenance knows no such peer',
    60_000,
  );
  t.regex(await read(other), /The peer us of TIERLINE_PEERS has no token/);
});

test('read-only there is no button; without peers there is no entry in the menu, and the page says how to have one', async (t) => {
  const deployment = closing(t, await createDeployment());
  const peers = [{ name: 'eu', url: 'http://127.0.0.1:1' }];
  const readOnly = closing(t, await quietDashboard(deployment, { peers, dashboardReadOnly: true }));
  const { headers, csrf } = await readOnly.signIn();
  const shown = await readOnly.request({ url: '/peers', headers });
  t.regex(shown.body, /<h2 id="peer-0">eu<\/h2>/);
  t.notRegex(shown.body, /action="\/peers\/compare"/);
  t.is((await press(readOnly, 'peer=eu', { ...headers, 'x-csrf-token': csrf })).statusCode, 403);
  t.is((await press(readOnly, 'peer=eu')).statusCode, 403);

  const none = closing(t, await quietDashboard(deployment));
  t.notRegex((await none.request({ url: '/', headers: BEARER })).body, /href="\/peers"/);
  t.regex(await read(none), /TIERLINE_PEERS.*TIERLINE_PEER_TOKENS.*docs\/peers\.md/s);
});

test('maintenance that was started in code says that it knows no peers', async (t) => {
  const { own, options } = await createTwoSides(t);
  const dashboard = closing(t, await quietDashboard(own.deployment, options));
  closing(t, await startMaintenance(options));
  t.regex(await compare(dashboard, /pill critical">failed/), /Run tierline maintenance/);
});

test('in a browser the button compares through the maintenance process, and the page holds up in both themes', async (t) => {
  mkdirSync(SHOTS, { recursive: true });
  const sides = await createTwoSides(t);
  const env = {
    ...sides.env,
    // One comparison at the start: then the sides may diverge for the rest of the test.
    TIERLINE_PEER_EVERY_MS: '3600000',
    TIERLINE_DASHBOARD_PORT: '0',
    TIERLINE_DASHBOARD_TOKEN: TOKEN,
  };
  const processes = await Promise.all(
    (['dashboard', 'maintenance'] as const).map((name) => startWorker(name, env)),
  );
  const browser = await launchBrowser();
  t.teardown(async () => {
    await browser.close();
    await Promise.all(processes.map((one) => one.stop()));
  });
  const { pool } = sides.own.deployment;
  const isEqual = async () => (await pool.query('SELECT 1 FROM peers')).rows.length === 1;
  await eventually(isEqual, 'maintenance has found both equal', 60_000);
  await diverge(sides);

  const origin = /"url":"([^"]+)"/.exec(processes[0]?.output() ?? '')?.[1] ?? '';
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const seen = watch(context, origin);
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(`${origin}/peers`);
  await page.getByLabel('Password or access token').fill(TOKEN);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/peers');
  await page.getByRole('button', { name: 'Compare with eu' }).click();
  await page.getByText('6 rows differ').waitFor();
  t.is(await page.title(), 'Peers · Tierline');
  t.is(await page.getByRole('link', { name: 'Peers' }).getAttribute('aria-current'), 'page');
  t.deepEqual(seen.complaints, []);

  const checked = await browser.newContext({ bypassCSP: true });
  await checked.addCookies((await context.storageState()).cookies);
  const tab = await checked.newPage();
  for (const width of [1280, 390]) {
    for (const colorScheme of ['light', 'dark'] as const) {
      await tab.setViewportSize({ width, height: 900 });
      await tab.emulateMedia({ colorScheme });
      await tab.goto(`${origin}/peers`);
      await tab.screenshot({ path: join(SHOTS, `peers-${width}-${colorScheme}.png`), fullPage: true });
      t.deepEqual(await seriousFindings(tab), [], `${width} ${colorScheme}`);
      t.false(await tab.evaluate('document.documentElement.scrollWidth > innerWidth'), `${width}`);
    }
  }
});
