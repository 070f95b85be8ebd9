import test, { type ExecutionContext } from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { startTestGateway, type TestGateway } from '../helpers/gateway.ts';
import { type DatabaseProxy, type Proxy, startDatabaseProxy, startProxy } from '../helpers/proxy.ts';
import { closing, createSetting } from '../helpers/setting.ts';

const TWO_LINES = '{"id":"1","content":1}\n{"id":"2","content":1}\n';

/** A gateway whose servers can be taken away; the worker keeps them. */
async function setUp(
  t: ExecutionContext,
): Promise<{ gateway: TestGateway; redis: Proxy; postgres: DatabaseProxy }> {
  const { deployment } = await createSetting(t);
  const redis = closing(t, await startProxy(deployment.options.redisUrl));
  const postgres = closing(t, await startDatabaseProxy(deployment));
  closing(t, await startDrain(deployment.options));
  const options = {
    ...postgres.options,
    redisUrl: redis.url,
    enqueueTimeoutMs: 5000,
    l3TimeoutMs: 1500,
  };
  return { gateway: await startTestGateway(t, deployment, options), redis, postgres };
}

async function unavailable(t: ExecutionContext, response: Response, code: string): Promise<void> {
  const problem = (await response.json()) as Record<string, unknown>;
  t.like(problem, { status: 503, code }, response.url);
  t.true(Number(response.headers.get('retry-after')) >= 1);
  t.true(Number(problem['retryAfterMs']) > 0);
}

test('I8: without Redis writes are refused with 503 and when to come back, and reads go on with Postgres', async (t) => {
  const { gateway, redis } = await setUp(t);
  const { call, send } = gateway;
  t.is((await send('PUT', '/v1/items/a?wait=settled&timeoutMs=30000', '1')).status, 200);
  await redis.refuse();
  await unavailable(t, await send('PUT', '/v1/items/a', '2'), 'ERR_QUEUE_UNAVAILABLE');
  await unavailable(t, await call('/v1/items/a', { method: 'DELETE' }), 'ERR_QUEUE_UNAVAILABLE');
  await unavailable(t, await call('/v1/items?prefix=a', { method: 'DELETE' }), 'ERR_QUEUE_UNAVAILABLE');
  await unavailable(t, await call('/v1/changes'), 'ERR_QUEUE_UNAVAILABLE');
  t.is(await (await call('/v1/items/a')).text(), '1');
  await redis.open();
  await eventually(
    async () => (await send('PUT', '/v1/items/a', '2')).status === 202,
    'writes are taken again',
  );
});

test('I7: while no tier can answer, absence is not told: 503, never 404', async (t) => {
  const { gateway, redis, postgres } = await setUp(t);
  const { call, send } = gateway;
  await redis.refuse();
  await postgres.refuse();
  await unavailable(t, await call('/v1/items/never-read'), 'ERR_TIER_UNAVAILABLE');
  await unavailable(t, await send('POST', '/v1/items:get', { ids: ['never-read'] }), 'ERR_TIER_UNAVAILABLE');
  await unavailable(t, await call('/v1/items?prefix=never'), 'ERR_TIER_UNAVAILABLE');
  await redis.open();
  await postgres.open();
  await eventually(
    async () => (await call('/v1/items/never-read')).status === 404,
    'it is known to be absent again',
  );
});

test('I10: a full queue refuses writes with 503 and when to come back, line by line in a batch', async (t) => {
  const { deployment } = await createSetting(t, ONE_LANE);
  const { send } = await startTestGateway(t, deployment, { maxWaitingItems: 5 });
  await eventually(
    async () => (await send('PUT', `/v1/items/${Math.random()}`, '1')).status === 503,
    'the queue is full',
    60_000,
  );
  await unavailable(t, await send('PUT', '/v1/items/one-more', '1'), 'ERR_BACKPRESSURE');
  await unavailable(
    t,
    await send('POST', '/v1/items:batch', TWO_LINES, 'application/x-ndjson'),
    'ERR_BACKPRESSURE',
  );
});

test('I6: a stream of changes outlives an outage of Redis, and no change is lost', async (t) => {
  const { gateway, redis } = await setUp(t);
  const { call, send } = gateway;
  const response = await call('/v1/changes');
  let text = '';
  void (async () => {
    for await (const part of response.body as AsyncIterable<Uint8Array>) text += Buffer.from(part).toString();
  })().catch(() => undefined);
  const has = (id: string) => () => text.includes(`"id":"${id}"`);
  await send('PUT', '/v1/items/before', '1');
  await eventually(has('before'), 'it follows');
  await send('PUT', '/v1/items/meanwhile', '1');
  redis.cut();
  await redis.refuse();
  await redis.open();
  await eventually(has('meanwhile'), 'what was settled meanwhile', 60_000);
  await eventually(
    async () => (await send('PUT', '/v1/items/after', '1')).status === 202,
    'writes are taken again',
  );
  await eventually(has('after'), 'it follows again');
  t.is(text.split('"id":"meanwhile"').length, 2, 'told once');
  t.false(text.includes('event: gone'));
});
