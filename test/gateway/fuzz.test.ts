import test from 'ava';
import * as fc from 'fast-check';
import { startTestGateway } from '../helpers/gateway.ts';
import { type OpenApi, requestsOf } from '../helpers/openapi.ts';
import { createSetting } from '../helpers/setting.ts';

const RUNS = Number(process.env['FUZZ_RUNS'] ?? 100);
const OPERATIONS = [
  'deleteItem',
  'deleteItems',
  'followChanges',
  'getItem',
  'getItems',
  'getStatus',
  'listItems',
  'putItem',
  'putItems',
  'setState',
];

test('I8: no request that its document describes, or nearly, makes the gateway fail: each is answered or refused by name', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  const document = (await (await call('/openapi.json', { token: '' })).json()) as OpenApi;
  t.is(document.openapi, '3.1.0');
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  t.deepEqual(operations.map(({ operation }) => operation.operationId).toSorted(), OPERATIONS);
  for (const { path, method, operation } of operations) {
    for (const id of ['a', 'shop.a']) await send('PUT', `/v1/items/${id}?wait=settled`, { id });
    const answered = new Set<number>();
    await fc.assert(
      fc.asyncProperty(
        requestsOf(path, method, operation),
        fc.constantFrom('all', 'shop'),
        async (request, token) => {
          const controller = new AbortController();
          const { method, headers, body } = request;
          // A wait is as long as it is asked for: here a minute helps nobody.
          const target = request.path.replace(/timeoutMs=\d{4,}/, 'timeoutMs=200');
          const response = await call(target, {
            token,
            method,
            headers,
            signal: controller.signal,
            ...(body !== undefined && { body }),
          });
          answered.add(response.status);
          const [type] = (response.headers.get('content-type') ?? '').split(';');
          const isStream = type === 'text/event-stream';
          const text = isStream ? '' : await response.text();
          if (isStream) controller.abort();
          if (response.status >= 500) throw new Error(`${response.status}: ${text}`);
          if (response.status < 400) {
            const declared = Object.keys(operation.responses[response.status]?.content ?? {});
            if (declared.length > 0 && !declared.includes(type ?? ''))
              throw new Error(`${response.status} with ${type}`);
          } else if (
            type !== 'application/problem+json' ||
            (JSON.parse(text) as { code?: string }).code === undefined
          ) {
            throw new Error(`${response.status} with ${type}: ${text}`);
          }
        },
      ),
      { numRuns: RUNS },
    );
    t.true(
      [...answered].some((status) => status < 300),
      `${method} ${path} is understood at times`,
    );
    t.true(
      [...answered].some((status) => status >= 400),
      `${method} ${path} refuses at times`,
    );
  }
});
