import test from 'ava';
import { BEARER, quietDashboard } from '../helpers/dashboard.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/proxy.ts';
import { closing } from '../helpers/setting.ts';

for (const [how, fail] of [
  ['refuses connections', 'refuse'],
  ['is silent', 'freeze'],
] as const) {
  test(`I8: while Redis ${how} the overview tells so, shows what Postgres knows, and recovers`, async (t) => {
    const deployment = closing(t, await createDeployment());
    const proxy = closing(t, await startProxy(deployment.options.redisUrl));
    const dashboard = closing(t, await quietDashboard(deployment, { redisUrl: proxy.url }));
    const get = (url: string) =>
      dashboard.request({ method: 'GET', url, headers: { ...BEARER, accept: 'text/html' } });
    t.notRegex((await get('/')).body, /cannot be asked/);

    await proxy[fail]();
    await eventually(async () => (await get('/')).body.includes('The queue (Redis) cannot be asked'), 'told');
    const page = await get('/');
    t.is(page.statusCode, 200);
    t.regex(page.body, /<p class="figure">0<\/p><p>live items/);
    const item = await get('/item?id=x');
    t.is(item.statusCode, 200);
    t.regex(item.body, /cannot be asked/);
    t.regex(item.body, /unknown|missing/);
    t.is((await dashboard.request({ method: 'GET', url: '/healthz' })).statusCode, 200);
    t.is((await dashboard.request({ method: 'GET', url: '/readyz' })).statusCode, 503);

    await proxy.open();
    await eventually(async () => !(await get('/')).body.includes('cannot be asked'), 'recovered');
  });
}
