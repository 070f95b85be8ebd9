import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { launchBrowser, watch } from '../helpers/browser.ts';
import { startTestGateway } from '../helpers/gateway.ts';
import { closing, createSetting } from '../helpers/setting.ts';

const SHOTS = join(tmpdir(), 'tierline-gateway');

test('the page of the routes tries them with a token, and loads nothing from elsewhere', async (t) => {
  mkdirSync(SHOTS, { recursive: true });
  const browser = closing(t, await launchBrowser());
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { url, send } = await startTestGateway(t, deployment);
  await send('PUT', '/v1/items/a?wait=settled', { name: 'Ann' });
  const context = await browser.newContext({ viewport: { width: 1200, height: 1400 } });
  const { complaints } = watch(context, url);
  const page = await context.newPage();
  await page.goto(`${url}/docs`);
  await page.getByRole('button', { name: 'Authorize' }).click();
  await page.getByRole('textbox').first().fill('all');
  await page.locator('.auth-btn-wrapper').getByRole('button', { name: 'Apply credentials' }).click();
  await page.locator('.auth-btn-wrapper').getByRole('button', { name: 'Close' }).click();
  const route = page.locator('#operations-items-getItem');
  await route.locator('.opblock-summary-control').click();
  await route.getByPlaceholder('id').fill('a');
  await route.getByRole('button', { name: 'Execute' }).click();
  await route.locator('.live-responses-table .response-col_status', { hasText: '200' }).waitFor();
  t.regex(await route.locator('.live-responses-table').innerText(), /"name": "Ann"/);
  await page.screenshot({ path: join(SHOTS, 'docs.png'), fullPage: true });
  t.deepEqual(complaints, []);
});
