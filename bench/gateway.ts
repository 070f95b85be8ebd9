import { once } from 'node:events';
import { request } from 'node:http';
import { Readable } from 'node:stream';
import autocannon from 'autocannon';
import { openProducer } from '../src/producer/open-producer.ts';
import type { NewItem, Producer } from '../src/types/write.ts';
import { createDeployment, type Deployment } from '../test/helpers/deployment.ts';
import { startWorker } from '../test/helpers/worker-process.ts';
import { documents } from './documents.ts';
import { startGatewayProcess, TOKEN } from './gateway-process.ts';
import { type BenchOptions, type Emit, perSecond, timed } from './metric.ts';

const CONNECTIONS = 64;
const CALL_ITEMS = 500;
const CALLS_IN_FLIGHT = 4;
const READ_IDS = 1000;

/** Writes and reads over HTTP against the library's own calls, in one run: the gateway is a process, and the client is this one. */
export async function gatewayBench(
  emit: Emit,
  { items: count = 100_000, seconds = 5 }: BenchOptions,
): Promise<void> {
  const deployment = await createDeployment();
  const gateway = await startGatewayProcess(deployment);
  const producer = await openProducer(deployment.options);
  try {
    await readsPerSecond(emit, deployment, gateway.url, seconds);
    await sendBatch(gateway.url, documents(20_000, 'warm'));
    await submitAll(producer, documents(20_000, 'warm'));
    const items = documents(count);
    // Before and after: the machine is not as fast from one second to the next.
    const before = await timed(() => submitAll(producer, items));
    const batch = perSecond(count, await timed(() => sendBatch(gateway.url, items)));
    const library = perSecond(2 * count, before + (await timed(() => submitAll(producer, items))));
    emit('submit_many_items_per_s', library, 'items/s');
    emit('batch_items_per_s', batch, 'items/s');
    emit('batch_ratio_vs_submit_many', batch / library, 'ratio');

    const body = JSON.stringify(items[0]?.content);
    const puts = await cannon(gateway.url, seconds, 'PUT', body);
    emit('puts_per_s', puts.requests.average, 'requests/s');
    emit('put_ratio_vs_submit', puts.requests.average / (await submitsPerSecond(producer, items)), 'ratio');
  } finally {
    await producer.close();
    await gateway.stop();
    await deployment.close();
  }
}

/** Of items that have settled; then no worker runs any more, as in the bench of enqueueing. */
async function readsPerSecond(
  emit: Emit,
  deployment: Deployment,
  url: string,
  seconds: number,
): Promise<void> {
  const worker = await startWorker('drain', deployment.env);
  await sendBatch(url, documents(READ_IDS), '?wait=settled&timeoutMs=60000');
  await worker.stop();
  await cannon(url, 1, 'GET');
  const gets = await cannon(url, seconds, 'GET');
  emit('gets_per_s', gets.requests.average, 'requests/s');
  emit('get_p99_ms', gets.latency.p99, 'ms');
}

/** As the bench of enqueueing does it. */
async function submitAll(producer: Producer, items: readonly NewItem[]): Promise<void> {
  let next = 0;
  const submitOn = async () => {
    while (next < items.length) {
      const call = items.slice(next, next + CALL_ITEMS);
      next += CALL_ITEMS;
      await producer.submitMany(call);
    }
  };
  await Promise.all(Array.from({ length: CALLS_IN_FLIGHT }, submitOn));
}

async function submitsPerSecond(producer: Producer, items: readonly NewItem[]): Promise<number> {
  let next = 0;
  const submitOn = async () => {
    while (next < items.length) await producer.submit(items[next++] as NewItem);
  };
  return perSecond(
    items.length,
    await timed(() => Promise.all(Array.from({ length: CONNECTIONS }, submitOn))),
  );
}

/** Sends the items as one stream of lines, and reads every outcome. */
async function sendBatch(url: string, items: readonly NewItem[], query = ''): Promise<void> {
  const sending = request(`${url}/v1/items:batch${query}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/x-ndjson' },
  });
  Readable.from(linesOf(items), { objectMode: false }).pipe(sending);
  const [response] = (await once(sending, 'response')) as [Readable];
  let outcomes = 0;
  for await (const part of response) outcomes += (part as Buffer).toString().split('\n').length - 1;
  if (outcomes !== items.length) throw new Error(`${outcomes} outcomes of ${items.length} lines`);
}

function* linesOf(items: readonly NewItem[]): Generator<string> {
  for (let at = 0; at < items.length; at += CALL_ITEMS) {
    yield items
      .slice(at, at + CALL_ITEMS)
      .map((item) => `${JSON.stringify(item)}\n`)
      .join('');
  }
}

/** Requests of ids in turn. */
function cannon(
  url: string,
  seconds: number,
  method: 'GET' | 'PUT',
  body?: string,
): Promise<autocannon.Result> {
  return autocannon({
    url,
    connections: CONNECTIONS,
    duration: seconds,
    headers: {
      authorization: `Bearer ${TOKEN}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    requests: Array.from({ length: READ_IDS }, (_, i) => ({
      method,
      path: `/v1/items/doc.${i % 1000}.${i}`,
      ...(body !== undefined && { body }),
    })),
  });
}
