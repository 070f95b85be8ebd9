import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { Page } from 'playwright-core';
import { openProducer } from '../../src/producer/open-producer.ts';
import { launchBrowser, watch } from '../helpers/browser.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startRedisCluster } from '../helpers/redis-cluster.ts';
import { startWorker } from '../helpers/worker-process.ts';

const PARTITIONS = 8;
const ITEMS = 400;
const TOKEN = 'bearer-token-of-the-partitions-test-01';
const SHOTS = join(tmpdir(), 'tierline-dashboard');

/** The figure of a card, as a number. */
async function figure(page: Page, title: string): Promise<number> {
  const card = page.locator('.card', { has: page.getByRole('heading', { name: title, exact: true }) });
  return Number((await card.locator('.figure').innerText()).replaceAll(/[^\d.]/g, ''));
}

test('on a cluster the overview sums all partitions, and Bull Board shows the queue of each', async (t) => {
  mkdirSync(SHOTS, { recursive: true });
  // Writes wait in this test for as long as it looks: no master is to fail over meanwhile.
  const cluster = await startRedisCluster({ 'cluster-node-timeout': '15000' });
  const browser = await launchBrowser();
  const deployment = await createDeployment({
    redisUrl: cluster.url,
    cacheRedisUrl: cluster.url,
    partitions: PARTITIONS,
  });
  const env = { ...deployment.env, TIERLINE_DASHBOARD_PORT: '0', TIERLINE_DASHBOARD_TOKEN: TOKEN };
  const dashboard = await startWorker('dashboard', env);
  const producer = await openProducer(deployment.options);
  t.teardown(async () => {
    await browser.close();
    await producer.close();
    await dashboard.stop();
    await deployment.close();
    await cluster.close();
  });
  await producer.submitMany(Array.from({ length: ITEMS }, (_, n) => ({ id: `city.uk.${n}`, content: n })));

  const origin = /"url":"([^"]+)"/.exec(dashboard.output())?.[1] ?? '';
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const seen = watch(context, origin);
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(`${origin}/`);
  await page.getByLabel('Password or access token').fill(TOKEN);
  await page.keyboard.press('Enter');
  t.is(await figure(page, 'Items pending'), ITEMS);
  await page.screenshot({ path: join(SHOTS, 'partitions-overview.png'), fullPage: true });

  await page.goto(`${origin}/queues`);
  for (let partition = 0; partition < PARTITIONS; partition++) {
    await page
      .getByRole('link', { name: `partition-${partition}.writes` })
      .first()
      .waitFor();
  }
  await page.screenshot({ path: join(SHOTS, 'partitions-queues.png'), fullPage: true });
  await page.goto(`${origin}/queues/queue/partition-3.writes`);
  await page.getByText('firstIds').first().waitFor();
  await page.screenshot({ path: join(SHOTS, 'partitions-queue.png'), fullPage: true });

  const drain = await startWorker('drain', env);
  const maintenance = await startWorker('maintenance', env);
  await producer.flush();
  await eventually(async () => {
    await page.goto(`${origin}/`);
    return (await figure(page, 'Postgres (L3)')) === ITEMS;
  }, 'the overview shows what has settled');
  await page.screenshot({ path: join(SHOTS, 'partitions-settled.png'), fullPage: true });
  await Promise.all([drain.stop(), maintenance.stop()]);
  t.deepEqual(seen.complaints, []);
});
