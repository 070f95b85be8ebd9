import { once } from 'node:events';
import { request } from 'node:http';
import test from 'ava';
import { BatchLoad } from '../../src/gateway/batch-load.ts';
import type { SourceLine } from '../../src/schema/item-lines.ts';
import type { BatchTicket, NewItem } from '../../src/types/write.ts';
import { eventually } from '../helpers/eventually.ts';
import { refusalOf, startTestGateway, type TestGateway } from '../helpers/gateway.ts';
import { startProxy } from '../helpers/proxy.ts';
import { closing, createSetting } from '../helpers/setting.ts';

const NDJSON = 'application/x-ndjson';

interface Outcome {
  readonly line: number;
  readonly id?: string;
  readonly status: string;
  readonly version?: number;
  readonly code?: string;
}

function outcomesIn(text: string): Outcome[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Outcome);
}

async function outcomesOf(response: Response): Promise<Outcome[]> {
  return outcomesIn(await response.text());
}

test('each line has its outcome, in the order of the lines, and a bad line harms no other', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  const lines = [
    '{"id":"a","content":1,"state":"s"}',
    'not JSON',
    '',
    '{"id":"b"}',
    '{"id":"c","content":"AQI=","contentType":"binary"}',
    '{"id":"","content":1}',
    '{"id":"a","content":2}',
  ];
  const response = await send('POST', '/v1/items:batch?wait=settled', lines.join('\r\n'), NDJSON);
  t.is(response.headers.get('content-type'), NDJSON);
  const outcomes = await outcomesOf(response);
  t.deepEqual(
    outcomes.map(({ line, id, status, code }) => [line, id, code ?? status]),
    [
      [1, 'a', outcomes[0]?.status],
      [2, undefined, 'ERR_INVALID_ITEM'],
      [4, undefined, 'ERR_INVALID_ITEM'],
      [5, 'c', 'applied'],
      [6, '', 'ERR_INVALID_ITEM'],
      [7, 'a', 'applied'],
    ],
  );
  t.is(await (await call('/v1/items/a')).text(), '2', 'of two lines with one id the later wins');
  t.deepEqual(new Uint8Array(await (await call('/v1/items/c')).arrayBuffer()), Uint8Array.of(1, 2));
  t.deepEqual(await outcomesOf(await send('POST', '/v1/items:batch', '', NDJSON)), []);
});

test('I1: lines of one id in many groups end as the last of them', async (t) => {
  const { deployment, drain } = await createSetting(t);
  await drain();
  const { call, send } = await startTestGateway(t, deployment);
  const count = 20_000;
  const lines = Array.from({ length: count }, (_, i) => JSON.stringify({ id: `k.${i % 7}`, content: i }));
  const outcomes = await outcomesOf(
    await send('POST', '/v1/items:batch?wait=settled', lines.join('\n'), NDJSON),
  );
  t.deepEqual(
    outcomes.map(({ line }) => line),
    Array.from({ length: count }, (_, i) => i + 1),
  );
  for (let id = 0; id < 7; id++) {
    const last = count - 1 - ((count - 1 - id) % 7);
    t.is(await (await call(`/v1/items/k.${id}`)).text(), String(last));
  }
});

/** A batch whose lines the test sends one by one. */
function openBatch({ url }: TestGateway, path = '/v1/items:batch') {
  const sending = request(`${url}${path}`, {
    method: 'POST',
    headers: { authorization: 'Bearer all', 'content-type': NDJSON },
  });
  let text = '';
  const ended = (async () => {
    const [response] = (await once(sending, 'response')) as [NodeJS.ReadableStream];
    response.setEncoding('utf8').on('data', (part: string) => (text += part));
    await once(response, 'close');
  })();
  // The gateway may cut a sender that it has refused.
  sending.on('error', () => undefined);
  ended.catch(() => undefined);
  return { sending, ended, outcomes: () => outcomesIn(text) };
}

test('outcomes come while lines are still sent', async (t) => {
  const { deployment } = await createSetting(t);
  const gateway = await startTestGateway(t, deployment);
  const { sending, ended, outcomes } = openBatch(gateway);
  for (let line = 1; line <= 3; line++) {
    sending.write(`{"id":"${line}","content":1}\n`);
    await eventually(() => outcomes().length === line, `the outcome of line ${line}`);
  }
  sending.end();
  await ended;
  t.deepEqual(
    outcomes().map(({ id, status }) => [id, status]),
    [
      ['1', 'accepted'],
      ['2', 'accepted'],
      ['3', 'accepted'],
    ],
  );
});

test('I10: a line without end is cut off, and the lines before it stay', async (t) => {
  const { deployment } = await createSetting(t, { maxContentBytes: 1000 });
  const gateway = await startTestGateway(t, deployment);
  const { sending, ended, outcomes } = openBatch(gateway);
  sending.write('{"id":"a","content":1}\n{"id":"b","content":"');
  const piece = 'x'.repeat(16 * 1024);
  let sent = 0;
  while (!sending.closed && sent < 1024 * 1024 * 1024) {
    sent += piece.length;
    if (!sending.write(piece)) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await ended;
  t.true(sent < 512 * 1024 * 1024, 'it was not read to its end');
  t.deepEqual(
    outcomes().map(({ line, status, code }) => [line, code ?? status]),
    [
      [1, 'accepted'],
      [2, 'ERR_BODY_TOO_LARGE'],
    ],
  );
  sending.destroy();
});

test('I10: a line that comes too slowly ends the batch, however often a byte comes', async (t) => {
  const { deployment } = await createSetting(t);
  const gateway = await startTestGateway(t, deployment, { gatewayBodyTimeoutMs: 1500 });
  const { sending, ended, outcomes } = openBatch(gateway);
  sending.write('{"id":"a","content":1}\n');
  await eventually(() => outcomes().length === 1, 'the first line');
  const trickle = setInterval(() => sending.write(' '), 50);
  await ended;
  clearInterval(trickle);
  t.deepEqual(
    outcomes().map(({ line, status, code }) => [line, code ?? status]),
    [
      [1, 'accepted'],
      [2, 'ERR_BODY_TIMEOUT'],
    ],
  );
  sending.destroy();
});

test('I8: without Redis a batch is refused with 503, and nothing of it is told as accepted', async (t) => {
  const { deployment } = await createSetting(t);
  const proxy = closing(t, await startProxy(deployment.options.redisUrl));
  const gateway = await startTestGateway(t, deployment, { redisUrl: proxy.url, enqueueTimeoutMs: 5000 });
  await proxy.refuse();
  const refused = await gateway.send('POST', '/v1/items:batch', '{"id":"a","content":1}', NDJSON);
  t.true(Number(refused.headers.get('retry-after')) >= 1);
  t.deepEqual(await refusalOf(refused), [503, 'application/problem+json', 'ERR_QUEUE_UNAVAILABLE']);
  await proxy.open();
});

test('I3: when Redis goes away in the middle, the last line says from where on nothing was queued', async (t) => {
  const { deployment } = await createSetting(t);
  const proxy = closing(t, await startProxy(deployment.options.redisUrl));
  const options = { redisUrl: proxy.url, enqueueTimeoutMs: 5000 };
  const { sending, ended, outcomes } = openBatch(await startTestGateway(t, deployment, options));
  sending.write('{"id":"a","content":1}\n');
  await eventually(() => outcomes().length === 1, 'the first outcome');
  await proxy.refuse();
  sending.write('{"id":"b","content":1}\n{"id":"c","content":1}\n');
  await ended;
  t.deepEqual(
    outcomes().map(({ line, status, code }) => [line, status, code]),
    [
      [1, 'accepted', undefined],
      [2, 'stopped', 'ERR_QUEUE_UNAVAILABLE'],
    ],
  );
  sending.destroy();
  await proxy.open();
});

/** A producer whose batches settle when they are told to. */
function heldProducer() {
  const settles: (() => void)[] = [];
  let version = 0;
  return {
    settleAll: () => {
      for (const settle of settles.splice(0)) settle();
    },
    submitMany: (items: readonly NewItem[]): Promise<BatchTicket> => {
      const tickets = items.map(({ id }) => ({
        id,
        version: ++version,
        settled: () => Promise.reject(new Error('unused')),
      }));
      const settled = new Promise<void>((resolve) => settles.push(resolve));
      return Promise.resolve({
        total: items.length,
        accepted: items.length,
        rejected: [],
        tickets,
        settled: async () => {
          await settled;
          const outcomes = tickets.map(() => ({ status: 'applied' as const, version }));
          return { total: items.length, succeeded: items.length, failed: 0, outcomes };
        },
      });
    },
  };
}

test('I10: a batch holds a bounded part of what has not settled, then its sender waits', async (t) => {
  const producer = heldProducer();
  const load = new BatchLoad(producer, { wait: 'accepted', timeoutMs: 1000, refusal: () => undefined });
  const bytes = 1024 * 1024;
  const total = 300;
  let read = 0;
  async function* lines(): AsyncGenerator<SourceLine[]> {
    while (read < total) {
      read++;
      yield [{ line: read, bytes, item: { id: `${read}`, content: 1 } }];
    }
  }
  let told = 0;
  const ended = (async () => {
    for await (const text of load.outcomes(lines())) told += outcomesIn(text).length;
  })();
  const before = () => read;
  let last = -1;
  await eventually(async () => {
    if (before() > 0 && last === read) return true;
    last = read;
    await new Promise((resolve) => setTimeout(resolve, 100));
    return false;
  }, 'nothing more is read');
  t.true(read < 80, `${read} MiB were read`);
  const settling = setInterval(() => producer.settleAll(), 1);
  await ended;
  clearInterval(settling);
  t.is(told, total);
});
