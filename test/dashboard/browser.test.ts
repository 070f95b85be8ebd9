import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { hashPassword } from '../../src/password-hash.ts';
import { readSeries } from '../../src/redis/history.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/types/read.ts';
import { launchBrowser, seriousFindings, watch } from '../helpers/browser.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { refusePoison } from '../helpers/poison.ts';
import { startWorker, type WorkerProcess } from '../helpers/worker-process.ts';

/** The dashboard as its users have it: real processes, a real browser, one visit from signing in to signing out. */
const PASSWORD = 'correct horse battery';
const TOKEN = 'bearer-token-of-the-browser-test-0001';
const PAYLOAD = 'payload-that-stays-private';
/** An id that is markup, in case some page takes it for such. */
const HOSTILE = `x"><img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;
const SHOTS = join(tmpdir(), 'tierline-dashboard');

let deployment: Deployment;
let store: Store;
let processes: WorkerProcess[] = [];
let origin: string;
let browser: Browser;
let context: BrowserContext;
let page: Page;
let seen: { readonly complaints: readonly string[] };
let poison: { lift: () => Promise<void> };
let next = 0;

test.before(async () => {
  mkdirSync(SHOTS, { recursive: true });
  browser = await launchBrowser();
  deployment = await createDeployment();
  const env = {
    ...deployment.env,
    TIERLINE_DASHBOARD_PORT: '0',
    TIERLINE_DASHBOARD_PASSWORD_HASH: await hashPassword(PASSWORD),
    TIERLINE_DASHBOARD_TOKEN: TOKEN,
  };
  processes = await Promise.all(
    (['dashboard', 'drain', 'maintenance'] as const).map((name) => startWorker(name, env)),
  );
  origin = /"url":"([^"]+)"/.exec(processes[0]?.output() ?? '')?.[1] ?? '';
  poison = await refusePoison(deployment);
  store = await openStore(deployment.options);
  context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  seen = watch(context, origin);
  page = await context.newPage();
  page.setDefaultTimeout(20_000);
});
test.after.always(async () => {
  await browser?.close();
  await store?.close();
  await Promise.all(processes.map((one) => one.stop()));
  await deployment?.close();
});

async function fill(items: number): Promise<void> {
  await store.submitMany(
    Array.from({ length: items }, () => ({
      id: `city.${['uk', 'fr', 'de'][next % 3]}.${next++}`,
      content: { note: PAYLOAD, next },
    })),
  );
}

/** The figure of a card, as a number. */
async function figure(title: string): Promise<number> {
  const card = page.locator('.card', { has: page.getByRole('heading', { name: title, exact: true }) });
  return Number((await card.locator('.figure').innerText()).replaceAll(/[^\d.]/g, ''));
}

test.serial(
  'a wrong password is told so, and the right one leads to the page that was asked for',
  async (t) => {
    await page.goto(`${origin}/merkle?path=city`);
    t.is(new URL(page.url()).pathname, '/sign-in');
    await page.getByLabel('Password or access token').fill('wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    t.regex(await page.getByRole('alert').innerText(), /neither the password nor the access token/);
    await page.getByLabel('Password or access token').fill(PASSWORD);
    await page.keyboard.press('Enter');
    await page.waitForURL('**/merkle?path=city');
    t.is(await page.title(), 'Merkle city · Tierline');
    // The browser itself notes the 401 of the wrong password.
    t.deepEqual(
      seen.complaints.filter((complaint) => !complaint.includes('401')),
      [],
    );
  },
);

test.serial('numbers and plots move while items are drained, without a reload', async (t) => {
  await fill(1000);
  await store.flush();
  await page.goto(`${origin}/`);
  await page.evaluate(() => ((globalThis as { marked?: boolean }).marked = true));
  t.is(await figure('Drain workers'), 1);
  t.is(await figure('Maintenance'), 1);
  const before = await figure('Postgres (L3)');
  t.is(before, 1000);
  await eventually(async () => (await figure('Redis (L2)')) > 0, 'L2 copies counted');

  const plot = page.locator('[data-plot=throughput] canvas');
  await plot.waitFor();
  const empty = await plot.evaluate((canvas) => (canvas as unknown as { toDataURL(): string }).toDataURL());
  await eventually(async () => {
    await fill(200);
    return (await figure('Postgres (L3)')) > before + 400;
  }, 'the number of items moved');
  await eventually(
    async () => {
      const drawn = await plot.evaluate((canvas) =>
        (canvas as unknown as { toDataURL(): string }).toDataURL(),
      );
      const settled = (await readSeries(deployment.redis, deployment.keys, Date.now())).some(
        ({ items }) => items > 0,
      );
      return settled && drawn !== empty;
    },
    'the plot moved',
    40_000,
  );
  t.true(await page.evaluate(() => (globalThis as { marked?: boolean }).marked === true), 'no reload');
  await page.getByText('The same figures as a table').click();
  await eventually(
    async () =>
      (await page.getByRole('region', { name: 'Figures of the last hour' }).locator('tbody tr').count()) > 0,
    'the table has the figures of the plots',
    40_000,
  );

  await page.getByRole('button', { name: 'Pause updates' }).click();
  t.true(await page.getByRole('button', { name: 'Resume updates' }).isVisible());
  t.deepEqual(seen.complaints.slice(1), []);
});

test.serial(
  'draining is paused and resumed; Bull Board shows a job without what users stored, and nothing to press',
  async (t) => {
    await page.goto(`${origin}/`);
    await page.getByRole('button', { name: 'Pause draining' }).click();
    await eventually(
      async () =>
        (await deployment.redis.hexists(`${deployment.keys.queuePrefix}:writes:meta`, 'paused')) === 1,
      'the queue is paused',
    );
    await fill(100);
    await page.goto(`${origin}/queues/queue/writes`);
    await page
      .getByRole('link', { name: /waiting|paused/i })
      .first()
      .click();
    const job = page.getByRole('link', { name: /^[\da-f]{8}-[\da-f-]{27}$/ }).first();
    await job.click();
    await page.getByText('firstIds').waitFor();
    const shown = await page.locator('#root').innerText();
    t.regex(shown, /put \(JSON\)/);
    t.regex(shown, /city\./);
    t.false(shown.includes(PAYLOAD));
    await page.screenshot({ path: join(SHOTS, 'board-job.png') });
    const buttons = (await page.getByRole('button').allInnerTexts()).join(' ');
    t.notRegex(buttons, /remove|clean|duplicate|update|promote|retry|add|empty|obliterate/i);
    const api = await page.request.get(`${origin}/queues/api/queues?activeQueue=writes&status=latest`);
    t.false((await api.text()).includes(PAYLOAD));

    await page.goto(`${origin}/`);
    t.regex(await page.getByRole('status').innerText(), /paused/);
    t.true((await figure('Chunks waiting')) >= 1);
    await page.getByRole('button', { name: 'Resume draining' }).click();
    await t.notThrowsAsync(store.flush({ timeoutMs: 20_000 }));
  },
);

test.serial('an item is looked up tier by tier, also one whose id is markup', async (t) => {
  await (await store.submit({ id: HOSTILE, content: PAYLOAD, state: '<b>new</b>' })).settled();
  await page.goto(`${origin}/item`);
  await page.getByRole('searchbox', { name: 'Id' }).fill(HOSTILE);
  await page.getByRole('button', { name: 'Look up' }).click();
  await page.getByRole('heading', { name: 'On the change feed' }).waitFor();
  t.is(await page.locator('h2.id').innerText(), HOSTILE);
  t.not(await page.title(), 'owned');
  t.is(await page.locator('main img, main script').count(), 0);
  t.regex(await page.getByRole('status').innerText(), /settled tiers agree/);
  const table = await page.getByRole('region', { name: 'Tier by tier' }).innerText();
  t.regex(table, /L2 Redis\s+JSON/);
  t.regex(table, /L3 Postgres\s+JSON/);
  t.true(table.includes('<b>new</b>'));
  t.false((await page.content()).includes(PAYLOAD));
  t.is(await page.getByRole('region', { name: 'Batches that name the id' }).locator('tbody tr').count(), 1);

  await page.getByRole('searchbox', { name: 'Id' }).fill('no.such.id');
  await page.keyboard.press('Enter');
  await page.getByText('No batch names it').waitFor();
  t.regex(await page.getByRole('status').innerText(), /missing/);
  await page.goto(`${origin}/item?id=${'x'.repeat(300)}`);
  t.regex(await page.getByRole('alert').innerText(), /at most 255/);
});

test.serial('a dead letter shows its payload when asked, and is replayed', async (t) => {
  const ticket = await store.submit({ id: 'city.de.dead', content: `poison ${PAYLOAD}` });
  t.is((await ticket.settled()).status, 'dead');
  await page.goto(`${origin}/dead-letters`);
  t.regex(await page.getByRole('main').innerText(), /city\.de\.dead\s+no poison here/);
  t.false((await page.content()).includes(PAYLOAD));
  await page.getByRole('link', { name: 'Payload of letter' }).click();
  t.true((await page.getByRole('region', { name: 'Payload' }).innerText()).includes(PAYLOAD));

  await page.goto(`${origin}/dead-letters`);
  await page.getByRole('button', { name: 'Replay' }).click();
  await page.getByText('refused again').waitFor();
  await poison.lift();
  await page.getByRole('button', { name: 'Replay' }).click();
  await page.getByText('Nothing to see here').waitFor();
  await page.getByText('stored', { exact: true }).waitFor();
  t.is((await store.get('city.de.dead'))?.version, ticket.version);
});

test.serial('the tree is walked by its prefixes, and verified with progress', async (t) => {
  await page.goto(`${origin}/merkle`);
  await page.getByRole('link', { name: 'city', exact: true }).click();
  await page.getByRole('link', { name: 'city.uk', exact: true }).click();
  const node = await store.merkle.prefix('city.uk');
  t.true((await page.getByRole('main').innerText()).includes(node.digest));
  await page.getByRole('button', { name: 'Verify now' }).click();
  const status = page.getByRole('status');
  await status.getByText('true').waitFor();
  const { count } = await store.merkle.root();
  t.true((await status.innerText()).includes(`${count.toLocaleString('en')} rows`));
});

test.serial(
  'the first key leads past the menu, and everything that acts can be reached by keys',
  async (t) => {
    await page.goto(`${origin}/merkle`);
    await page.keyboard.press('Tab');
    t.is(await page.evaluate('document.activeElement.textContent'), 'Skip to content');
    await page.keyboard.press('Enter');
    t.is(await page.evaluate('document.activeElement.id'), 'content');
    await page.keyboard.press('Tab');
    t.is(await page.evaluate('document.activeElement.textContent'), 'Verify now');
  },
);

test.serial('axe finds nothing serious on any page, in both themes, at 1280 and at 390 pixels', async (t) => {
  await (await store.submit({ id: 'city.fr.dead', content: 'sound' })).settled();
  await deployment.pool.query(
    `INSERT INTO dead_letters (item_id, stamp, chunk_id, payload, message, sqlstate) VALUES ($1, 1, 'c', '{}', 'refused: ' || $1, '23514')`,
    [HOSTILE],
  );
  const { rows } = await deployment.pool.query<{ seq: number }>('SELECT seq FROM dead_letters');
  const pages = {
    overview: '/',
    item: '/item?id=city.uk.0',
    'item-wrong': `/item?id=${'x'.repeat(300)}`,
    merkle: '/merkle?path=city',
    'dead-letters': '/dead-letters',
    'dead-letter': `/dead-letters/${rows[0]?.seq}`,
    'not-found': '/nowhere',
    'sign-in': '/sign-in',
  };
  const signedIn = await context.storageState();
  const checked = await browser.newContext({ bypassCSP: true });
  const tab = await checked.newPage();
  for (const [name, path] of Object.entries(pages)) {
    await checked.clearCookies();
    if (name !== 'sign-in') await checked.addCookies(signedIn.cookies);
    for (const width of [1280, 390]) {
      for (const colorScheme of ['light', 'dark'] as const) {
        await tab.setViewportSize({ width, height: width === 390 ? 844 : 900 });
        await tab.emulateMedia({ colorScheme });
        await tab.goto(origin + path);
        if (name === 'overview') await tab.locator('[data-plot=latency] canvas').waitFor();
        await tab.screenshot({ path: join(SHOTS, `${name}-${width}-${colorScheme}.png`), fullPage: true });
        t.deepEqual(await seriousFindings(tab), [], `${name} ${width} ${colorScheme}`);
        const overflow = await tab.evaluate('document.documentElement.scrollWidth > innerWidth');
        t.false(overflow, `${name} is wider than ${width}`);
      }
    }
  }
  await checked.close();
});

test.serial('signing out ends the visit; no log line holds a secret or what users stored', async (t) => {
  await page.goto(`${origin}/`);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL('**/sign-in');
  await page.goto(`${origin}/`);
  t.is(new URL(page.url()).pathname, '/sign-in');
  const complaints = seen.complaints.filter((complaint) => !/ 40[01] /.test(complaint));
  t.deepEqual(complaints, [], 'no script error, nothing blocked, no other host');
  for (const { output } of processes) {
    for (const secret of [PASSWORD, TOKEN, PAYLOAD, 'scrypt:']) t.false(output().includes(secret), secret);
  }
  const dashboard = processes[0] as WorkerProcess;
  t.is(await dashboard.stop(), 0);
});
