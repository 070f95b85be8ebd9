import { createLogger } from '../src/log.ts';
import { connectReader } from '../src/read/open-reader.ts';
import type { TierName } from '../src/types/read.ts';
import type { NewItem, Producer } from '../src/types/write.ts';
import type { Deployment } from '../test/helpers/deployment.ts';
import { arrive } from './arrivals.ts';
import { documents } from './documents.ts';
import type { Emit } from './metric.ts';

const ITEMS = 5000;
const WRITES_PER_S = 1000;
const READS_PER_S = 200;
const WHEN = `at_${WRITES_PER_S}`;

/** Single reads from L2 and from L3 while other items are written, beside the plain commands that fetch the same. */
export async function latencyOfReads(
  emit: Emit,
  { config, keys, cache, pool }: Deployment,
  producer: Producer,
  ms: number,
): Promise<void> {
  const [copied, durable, written] = [
    documents(ITEMS, 'copied'),
    documents(ITEMS, 'durable'),
    documents(ITEMS),
  ];
  const itemOf = (items: readonly NewItem[], n: number) => items[n % ITEMS] as NewItem;
  await producer.submitMany(copied);
  // They never have a copy, so that each read goes on to L3.
  await producer.submitMany(durable, { tiers: 'durable' });
  await producer.flush();
  const reader = await connectReader(
    { ...config, l1MaxBytes: 0, filterMaxBytes: 0 },
    createLogger('bench', 'silent'),
  );
  const get = async (id: string, expected: TierName) => {
    const { tier } = await reader.lookup(id);
    if (tier !== expected) throw new Error(`${id} came from ${tier}, not from ${expected}`);
  };
  const select = (id: string) =>
    pool.query({
      name: 'bench-get',
      text: 'SELECT id, content, content_version, state FROM items WHERE id = $1',
      values: [id],
    });
  const reads = { perSecond: READS_PER_S, ms };
  try {
    const [l2, l3, plainL2, plainL3] = await Promise.all([
      arrive(reads, (n) => get(itemOf(copied, n).id, 'l2')),
      arrive(reads, (n) => get(itemOf(durable, n).id, 'l3')),
      arrive(reads, (n) => cache.get(keys.item(itemOf(copied, n).id))),
      arrive(reads, (n) => select(itemOf(durable, n).id)),
      arrive({ perSecond: WRITES_PER_S, ms }, async (n) =>
        (await producer.submit(itemOf(written, n))).settled(),
      ),
    ]);
    l2.emit(emit, 'get_l2', WHEN);
    plainL2.emit(emit, 'plain_get_l2', WHEN);
    l3.emit(emit, 'get_l3', WHEN);
    plainL3.emit(emit, 'plain_select', WHEN);
  } finally {
    await reader.close();
  }
}
