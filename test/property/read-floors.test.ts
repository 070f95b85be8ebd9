import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { Options } from '../../src/config.ts';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Reader, Store } from '../../src/types/read.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { ObservedVersions } from '../helpers/observed-versions.ts';
import { type Proxy, startProxy } from '../helpers/proxy.ts';
import { Random } from '../helpers/random.ts';

/** Reads of each process; `npm run soak` makes more. */
const READS = Number(process.env.SOAK_READS ?? 1500);
const LOOPS = 6;
/** Written and never deleted: once seen, they are never absent. */
const KEPT = Array.from({ length: 6 }, (_, i) => `k.${i}`);
const DELETED = Array.from({ length: 4 }, (_, i) => `k.gone.${i}`);
const IDS = [...KEPT, ...DELETED];
const ONE_ENTRY_BYTES = 320;

for (const [name, l1MaxBytes] of [
  ['no L1', 0],
  ['an L1 of one entry', ONE_ENTRY_BYTES],
  ['an L1 of 2 KB', 2048],
] as const) {
  test.serial(
    `I6 I7: with ${name}, no read is older than one before it, while L2 and the feed lag`,
    async (t) => {
      const deployment = await createDeployment();
      const queue = await startProxy(deployment.config.redisUrl);
      const cache = await startProxy(deployment.config.redisUrl);
      const drain = await startDrain({
        ...deployment.options,
        redisUrl: queue.url,
        cacheRedisUrl: cache.url,
      });
      const producer = await openProducer(deployment.options);
      const options: Options = { ...deployment.options, l1MaxBytes };
      const reader = await openReader(options);
      const store = await openStore(options);
      t.teardown(async () => {
        for (const proxy of [queue, cache]) await proxy.open();
        for (const part of [reader, store, producer, drain]) await part.close();
        for (const proxy of [queue, cache]) await proxy.close();
        await deployment.close();
      });
      await (await producer.submitMany(IDS.map((id) => ({ id, content: 0 })))).settled();

      const end = new AbortController();
      const random = new Random(l1MaxBytes + 1);
      const lagging = Promise.all([lag(cache, random, end.signal), lag(queue, random, end.signal)]);
      const writing = write(producer, random, end.signal);
      const ownReads = new ObservedVersions();
      const writingOwn = writeOwn(store, ownReads, random, end.signal);
      const reads = new ObservedVersions();
      try {
        await Promise.all([
          ...Array.from({ length: LOOPS }, (_, i) => readOn(reader, reads, new Random(i))),
          ...Array.from({ length: LOOPS }, (_, i) => readOn(store, ownReads, new Random(-1 - i))),
        ]);
      } finally {
        end.abort();
        await Promise.all([lagging, writing, writingOwn]);
      }
      t.deepEqual(reads.violations.slice(0, 5), []);
      t.deepEqual(ownReads.violations.slice(0, 5), []);
    },
  );
}

/** Holds up what the worker sends: between Postgres and L2, or between L2 and the feed. */
async function lag(proxy: Proxy, random: Random, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    proxy.freeze();
    await sleep(random.upTo(40));
    await proxy.open();
    await sleep(random.upTo(10));
  }
}

async function write(
  producer: Pick<Store, 'submit' | 'setState' | 'delete'>,
  random: Random,
  signal: AbortSignal,
): Promise<void> {
  for (let n = 1; !signal.aborted; n++) {
    const dice = random.next();
    if (dice < 0.6) await producer.submit({ id: random.pick(IDS), content: n });
    else if (dice < 0.8) await producer.setState(random.pick(IDS), random.pick(['open', 'shut']));
    else await producer.delete(random.pick(DELETED));
    await sleep(random.upTo(4));
  }
}

/** What this process writes, it has seen (I11). */
async function writeOwn(
  store: Store,
  reads: ObservedVersions,
  random: Random,
  signal: AbortSignal,
): Promise<void> {
  for (let n = 1; !signal.aborted; n++) {
    const id = random.pick(KEPT);
    reads.note(id, (await store.submit({ id, content: -n })).version, 'submit');
    await sleep(random.upTo(8));
  }
}

async function readOn(reader: Reader, seen: ObservedVersions, random: Random): Promise<void> {
  while (seen.reads < READS) {
    const id = random.pick(IDS);
    const dice = random.next();
    if (dice < 0.3) note('get', id, await reader.get(id));
    else if (dice < 0.4) note('lookup', id, (await reader.lookup(id)).item);
    else if (dice < 0.45) seen.note(id, reader.peek(id)?.version, 'peek');
    else if (dice < 0.6) {
      const ids = random.shuffle(IDS).slice(0, 4);
      (await reader.getMany(ids)).forEach((item, i) => note('getMany', ids[i] as string, item));
    } else if (dice < 0.75) {
      for (const item of (await reader.getByPrefix(random.pick(['k.', id]), { limit: 5 })).items) {
        note('getByPrefix', item.id, item);
      }
    } else if (dice < 0.85) {
      for await (const item of reader.scanPrefix('k.')) {
        note('scanPrefix', item.id, item);
        if (random.chance(0.3)) await sleep(random.upTo(10));
      }
    } else if (dice < 0.9) {
      const status = await reader.status(id);
      // A pending version is one on its way, not one that was read.
      if (status.status === 'synced') seen.note(id, status.version, 'status');
    } else {
      const before = seen.newestOf(id);
      const exists = await reader.contains(id);
      if (!exists && before > 0 && KEPT.includes(id)) seen.violations.push(`contains denied ${id}`);
      seen.reads++;
    }
    await turn();
  }

  function note(how: string, id: string, item: { readonly version: number } | undefined): void {
    if (item === undefined && seen.newestOf(id) > 0 && KEPT.includes(id)) {
      seen.violations.push(`${how} denied ${id}`);
    }
    seen.note(id, item?.version, how);
  }
}
