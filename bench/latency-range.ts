import type { Producer } from '../src/types/write.ts';
import { arrive } from './arrivals.ts';
import { documents } from './documents.ts';
import { submitAll } from './drain.ts';
import type { Emit } from './metric.ts';

const ITEMS = 10_000;
const PER_SECOND = 1000;
const MAX_MS = 60_000;

/** Writes while a range delete runs that does not concern them. */
export async function latencyBesideRange(emit: Emit, producer: Producer, rows: number): Promise<void> {
  const items = documents(ITEMS, 'beside');
  await submitAll(producer, documents(rows, 'range'), 500);
  await submitAll(producer, items, 500);
  await producer.flush();
  const ended = new AbortController();
  const started = performance.now();
  const range = await producer.deletePrefix('range.');
  const deleting = range.settled().finally(() => {
    ended.abort();
    emit('range_ms', performance.now() - started, 'ms');
  });
  const [{ deleted }, writes] = await Promise.all([
    deleting,
    arrive({ perSecond: PER_SECOND, ms: MAX_MS, signal: ended.signal }, async (n) =>
      (await producer.submit(items[n % ITEMS] as (typeof items)[number])).settled(),
    ),
  ]);
  if (deleted !== rows) throw new Error(`deleted ${deleted} of ${rows}`);
  writes.emit(emit, 'settle', 'in_range');
}
