import test, { type ExecutionContext } from 'ava';
import * as fc from 'fast-check';
import { z } from 'zod';
import { Digester, hashContent } from '../../src/merkle/digest.ts';
import { idsQuestion, itemsQuestion, nodesQuestion, rowsHandover } from '../../src/schema/peer.ts';
import { startTestGateway, type Call } from '../helpers/gateway.ts';
import {
  type FuzzedRequest,
  type OpenApi,
  type Operation,
  requestsOf,
  type Schema,
  valueOf,
} from '../helpers/openapi.ts';
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
    const answered = await fuzz(call, operation, requestsOf(path, method, operation), ['all', 'shop']);
    isAnsweredAndRefused(t, `${method} ${path}`, answered);
  }
});

const PEER_QUESTIONS = {
  '/v1/merkle/nodes': nodesQuestion,
  '/v1/merkle/items': itemsQuestion,
  '/v1/merkle/registers': idsQuestion,
  '/v1/merkle/rows': idsQuestion,
  '/v1/merkle/accept': rowsHandover,
};

test('I8: no request that is of the peer protocol, or nearly, makes the gateway fail', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  for (const id of ['a', 'shop.a']) await send('PUT', `/v1/items/${id}?wait=settled`, { id });
  const responses = { 200: { content: { 'application/json': {} } } };
  for (const fact of ['identity', 'root', 'weeks']) {
    const path = `/v1/merkle/${fact}`;
    const operation = { operationId: fact, responses };
    const answered = await fuzz(call, operation, requestsOf(path, 'get', operation), ['peer', 'all']);
    isAnsweredAndRefused(t, path, answered);
  }
  for (const [path, question] of Object.entries(PEER_QUESTIONS)) {
    const schema = z.toJSONSchema(question, { io: 'input' }) as Schema;
    const requestBody = { content: { 'application/json': { schema } } };
    const operation = { operationId: path, responses, requestBody };
    isAnsweredAndRefused(
      t,
      path,
      await fuzz(call, operation, requestsOf(path, 'post', operation), ['peer', 'peer', 'all']),
    );
  }
  const handovers = fc.array(soundRows(), { maxLength: 3 }).map(
    (rows): FuzzedRequest => ({
      method: 'POST',
      path: '/v1/merkle/accept',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ rows }),
    }),
  );
  isAnsweredAndRefused(
    t,
    'accept, with sound digests',
    await fuzz(call, { operationId: 'accept', responses }, handovers, ['peer']),
  );
});

/** Rows whose hash and digest are right, so that a drain worker gets them, whatever else is in them. */
function soundRows(): fc.Arbitrary<object> {
  const digester = new Digester();
  const text = valueOf({ type: 'string' }).map(String);
  const stamp = fc.oneof(
    fc.constantFrom(0, 1, Number.MAX_SAFE_INTEGER),
    fc.integer({ min: -1_000_000, max: 1000 }).map((us) => Date.now() * 1000 + us),
  );
  return fc
    .record({
      id: text,
      contentVersion: stamp,
      stateVersion: stamp,
      deleted: fc.boolean(),
      binary: fc.boolean(),
      durable: fc.boolean(),
      body: fc.oneof(fc.json({ maxDepth: 2 }), text),
      state: text,
      traceParent: fc.oneof(fc.constant(null), text),
    })
    .map((row) => {
      const { deleted, binary, body } = row;
      const contentHash = deleted ? '' : hashContent(binary ? Buffer.from(body, 'base64') : body);
      const digest = digester.row({ ...row, contentHash: deleted ? null : contentHash });
      return { ...row, body: deleted ? '' : body, contentHash, digest };
    });
}

/** Sends requests and returns the statuses of the answers. @throws when one is no answer that the operation describes */
async function fuzz(
  call: Call,
  operation: Operation,
  requests: fc.Arbitrary<FuzzedRequest>,
  tokens: readonly string[],
): Promise<ReadonlySet<number>> {
  const answered = new Set<number>();
  const property = fc.asyncProperty(requests, fc.constantFrom(...tokens), async (request, token) => {
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
  });
  await fc.assert(property, { numRuns: RUNS });
  return answered;
}

function isAnsweredAndRefused(t: ExecutionContext, name: string, answered: ReadonlySet<number>): void {
  t.true(
    [...answered].some((status) => status < 300),
    `${name} is understood at times`,
  );
  t.true(
    [...answered].some((status) => status >= 400),
    `${name} refuses at times`,
  );
}
