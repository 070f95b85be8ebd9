import { createHash } from 'node:crypto';
import test from 'ava';
import { refusalOf, startTestGateway } from '../helpers/gateway.ts';
import { createSetting } from '../helpers/setting.ts';

const PROBLEM = 'application/problem+json';

async function jsonOf(response: Response): Promise<Record<string, unknown>> {
  return (await response.json()) as Record<string, unknown>;
}

test('what is put is read back: JSON as JSON, anything else as bytes', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  const put = await send('PUT', '/v1/items/a?wait=settled&state=new', '{"b":[1,-0,"ü"],"__proto__":1}');
  t.is(put.status, 200);
  const { version, status } = await jsonOf(put);
  t.is(status, 'applied');

  const got = await call('/v1/items/a');
  t.is(got.headers.get('content-type'), 'application/json; charset=utf-8');
  t.is(got.headers.get('tierline-state'), 'new');
  t.is(got.headers.get('tierline-version'), String(version));
  const text = await got.text();
  t.is(text, '{"b":[1,-0,"ü"],"__proto__":1}');
  t.is(got.headers.get('etag'), `"${createHash('sha256').update(text).digest('hex')}"`);

  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  const written = await call('/v1/items/b?wait=settled', {
    method: 'PUT',
    headers: { 'content-type': 'image/png' },
    body: bytes,
  });
  t.is(written.status, 200);
  const binary = await call('/v1/items/b');
  t.is(binary.headers.get('content-type'), 'application/octet-stream');
  t.deepEqual(new Uint8Array(await binary.arrayBuffer()), bytes);
});

test('I11: a write that was accepted is read by the next request, and settles', async (t) => {
  const { deployment, drain } = await createSetting(t);
  const { call, send } = await startTestGateway(t, deployment);
  const put = await send('PUT', '/v1/items/a', '1');
  t.is(put.status, 202);
  t.is(put.headers.get('location'), '/v1/status/a');
  t.is(await (await call('/v1/items/a')).text(), '1');
  t.is((await jsonOf(await call('/v1/status/a')))['status'], 'pending');
  const waited = await send('PUT', '/v1/items/a?wait=settled&timeoutMs=50', '2');
  t.is(waited.status, 202, 'nobody drains');
  await drain();
  t.is((await send('PUT', '/v1/items/a?wait=settled', '3')).status, 200);
  t.like(await jsonOf(await call('/v1/status/a')), { id: 'a', status: 'synced', inL3: true });
  t.deepEqual(await jsonOf(await call('/v1/status/none')), { id: 'none', status: 'missing' });
});

test('an unchanged content is answered with 304, whatever its state', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  await send('PUT', '/v1/items/a?wait=settled', '1');
  const etag = (await call('/v1/items/a')).headers.get('etag') ?? '';
  for (const tags of [etag, `"x", W/${etag}`, '*']) {
    const same = await call('/v1/items/a', { headers: { 'if-none-match': tags } });
    t.is(same.status, 304, tags);
    t.is(await same.text(), '');
  }
  await send('PUT', '/v1/items/a?wait=settled', '2');
  t.is((await call('/v1/items/a', { headers: { 'if-none-match': etag } })).status, 200);
});

test('a state is set, and only of an item that is there', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  await send('PUT', '/v1/items/a?wait=settled', '1');
  t.is((await send('PATCH', '/v1/items/a/state?wait=settled', { state: 'grün' })).status, 200);
  t.is((await call('/v1/items/a')).headers.get('tierline-state'), 'gr%C3%BCn');
  const missing = await send('PATCH', '/v1/items/none/state?wait=settled', { state: 'x' });
  t.deepEqual(await refusalOf(missing), [404, PROBLEM, 'ERR_NOT_FOUND']);
});

test('a deleted item is gone, and so is one that never was', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  await send('PUT', '/v1/items/a?wait=settled', '1');
  t.is((await call('/v1/items/a?wait=settled', { method: 'DELETE' })).status, 200);
  for (const id of ['a', 'never']) {
    t.deepEqual(await refusalOf(await call(`/v1/items/${id}`)), [404, PROBLEM, 'ERR_NOT_FOUND']);
  }
});

test('ids are what their percent-encoding says', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  const ids = [
    'a/b',
    'a%2Fb',
    'a b?c#d',
    'ü😀',
    ':batch',
    'x:y',
    'a,b;c',
    '%',
    '+',
    '"',
    'x'.repeat(255),
    'ü'.repeat(127),
  ];
  for (const id of ids) {
    const put = await send('PUT', `/v1/items/${encodeURIComponent(id)}?wait=settled`, { id });
    t.is(put.status, 200, id);
    t.is((await jsonOf(put))['id'], id);
    t.deepEqual(await jsonOf(await call(`/v1/items/${encodeURIComponent(id)}`)), { id });
  }
  const { items } = await jsonOf(await send('POST', '/v1/items:get', { ids }));
  t.deepEqual(
    (items as { id: string }[]).map(({ id }) => id),
    ids,
  );
});

test('many items are read in the order of their ids, null where there is none', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { send } = await startTestGateway(t, deployment);
  await send('PUT', '/v1/items/a?wait=settled', '1');
  const { items } = await jsonOf(await send('POST', '/v1/items:get', { ids: ['none', 'a'] }));
  t.like(items, [null, { id: 'a', content: 1, contentType: 'json', state: 'default' }] as object);
});

test('items are listed page by page, by prefix or by state', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  for (const id of ['a.1', 'a.2', 'a.3', 'b.1'])
    await send('PUT', `/v1/items/${id}?wait=settled&state=s`, '1');
  const seen: string[] = [];
  for (let after = ''; ; ) {
    const page = await jsonOf(await call(`/v1/items?prefix=a.&limit=2${after}`));
    seen.push(...(page['items'] as { id: string }[]).map(({ id }) => id));
    if (page['next'] === undefined) break;
    after = `&after=${page['next'] as string}`;
  }
  t.deepEqual(seen, ['a.1', 'a.2', 'a.3']);
  t.is(((await jsonOf(await call('/v1/items?state=s')))['items'] as unknown[]).length, 4);
  t.is(((await jsonOf(await call('/v1/items?prefix=')))['items'] as unknown[]).length, 4);
  for (const query of ['', '?prefix=a&state=s']) {
    t.deepEqual(await refusalOf(await call(`/v1/items${query}`)), [400, PROBLEM, 'ERR_INVALID_ITEM']);
  }
});

test('a range is deleted by prefix or by state, and the outcome says how many', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  for (const id of ['a.1', 'a.2', 'b.1']) await send('PUT', `/v1/items/${id}?wait=settled&state=s`, '1');
  // Some clients name a type also when they send no body.
  const byPrefix = await call('/v1/items?prefix=a.&wait=settled', {
    method: 'DELETE',
    headers: { 'content-type': 'application/json' },
  });
  t.like(await jsonOf(byPrefix), { status: 'settled', deleted: 2, dead: 0 });
  const byState = await call('/v1/items?state=s', { method: 'DELETE' });
  t.is(byState.status, 202);
  t.deepEqual(await refusalOf(await call('/v1/items?prefix=', { method: 'DELETE' })), [
    400,
    PROBLEM,
    'ERR_INVALID_ITEM',
  ]);
});

test('a write on a condition is refused and not done, whatever the route', async (t) => {
  const { deployment } = await createSetting(t);
  const { call, send } = await startTestGateway(t, deployment);
  await send('PUT', '/v1/items/a', '1');
  const etag = (await call('/v1/items/a')).headers.get('etag') ?? '';
  const line = '{"id":"a","content":2}\n';
  for (const [method, path, type, body] of [
    ['PUT', '/v1/items/a', 'application/json', '2'],
    ['DELETE', '/v1/items/a', 'text/plain', null],
    ['PATCH', '/v1/items/a/state', 'application/json', '{"state":"s"}'],
    ['POST', '/v1/items:batch', 'application/x-ndjson', line],
    ['DELETE', '/v1/items?prefix=a', 'text/plain', null],
  ] as const) {
    for (const [name, value] of [
      ['if-match', etag],
      ['if-none-match', '*'],
      ['if-unmodified-since', new Date().toUTCString()],
    ] as const) {
      const response = await call(path, { method, headers: { 'content-type': type, [name]: value }, body });
      t.deepEqual(
        await refusalOf(response),
        [400, PROBLEM, 'ERR_INVALID_REQUEST'],
        `${method} ${path} ${name}`,
      );
    }
  }
  t.is(await (await call('/v1/items/a')).text(), '1');
});

test('a large answer is compressed for those who take gzip', async (t) => {
  const { deployment } = await createSetting(t);
  const { call, send } = await startTestGateway(t, deployment);
  await send('PUT', '/v1/items/a', { text: 'x'.repeat(10_000) });
  const zipped = await call('/v1/items/a', { headers: { 'accept-encoding': 'gzip' } });
  t.is(zipped.headers.get('content-encoding'), 'gzip');
  t.is(((await zipped.json()) as { text: string }).text.length, 10_000);
  const plain = await call('/v1/items/a', { headers: { 'accept-encoding': 'identity' } });
  t.is(plain.headers.get('content-encoding'), null);
});

test('what cannot be understood is refused by name', async (t) => {
  const { deployment } = await createSetting(t);
  const { call, send } = await startTestGateway(t, deployment);
  const refused: [Promise<Response>, number, string][] = [
    [send('PUT', '/v1/items/a', '{"secret'), 400, 'ERR_INVALID_ITEM'],
    [send('PUT', '/v1/items/a', '', 'application/json'), 400, 'ERR_INVALID_ITEM'],
    [send('PUT', `/v1/items/${'x'.repeat(256)}`, '1'), 400, 'ERR_INVALID_REQUEST'],
    [send('PUT', '/v1/items/a%00', '1'), 400, 'ERR_INVALID_REQUEST'],
    [send('PUT', '/v1/items/a?wiat=settled', '1'), 400, 'ERR_INVALID_REQUEST'],
    [send('PUT', '/v1/items/a?timeoutMs=0', '1'), 400, 'ERR_INVALID_REQUEST'],
    [send('PUT', '/v1/items/a?tiers=durable&ttlMs=5', '1'), 400, 'ERR_INVALID_ITEM'],
    [send('PATCH', '/v1/items/a/state', { state: '' }), 400, 'ERR_INVALID_REQUEST'],
    [send('PATCH', '/v1/items/a/state', 'new', 'text/plain'), 415, 'ERR_MEDIA_TYPE'],
    [send('POST', '/v1/items:get', { ids: 'a' }), 400, 'ERR_INVALID_REQUEST'],
    [send('POST', '/v1/items:batch', '{}', 'application/json'), 415, 'ERR_MEDIA_TYPE'],
    [call('/v1/items?prefix=a&limit=0'), 400, 'ERR_INVALID_REQUEST'],
    [call('/v1/items?prefix=a&after=made-up'), 400, 'ERR_INVALID_ITEM'],
    [call('/v1/items/%zz'), 400, 'ERR_INVALID_REQUEST'],
    [call('/v1/none'), 404, 'ERR_NOT_FOUND'],
    [
      call('/v1/items/a', { method: 'PUT', headers: { 'content-encoding': 'gzip' }, body: 'x' }),
      415,
      'ERR_MEDIA_TYPE',
    ],
  ];
  for (const [response, status, code] of refused) {
    const answer = await response;
    const body = await answer.text();
    t.deepEqual([answer.status, (JSON.parse(body) as { code: string }).code], [status, code], answer.url);
    t.is(answer.headers.get('content-type'), `${PROBLEM}; charset=utf-8`);
    t.false(body.includes('secret'));
  }
});
