import { isDeepStrictEqual } from 'node:util';
import { openProducer } from '../../src/producer/open-producer.ts';
import type { NewItem } from '../../src/types/write.ts';
import type { Deployment } from '../../test/helpers/deployment.ts';
import { startWorker } from '../../test/helpers/worker-process.ts';
import { copyKey, ItemWriter } from './item-writer.ts';
import { type Place, placeOf } from './place.ts';
import { WorkerPair } from './worker-pair.ts';
import type { WritePeer } from './write-peer.ts';

/** One way to get items into Postgres and Redis, with its workers running. */
export interface Way {
  /** Resolves when all of them are accepted. */
  submit(items: readonly NewItem[]): Promise<unknown>;
  /** Resolves when all that was accepted is in Postgres and Redis. */
  settled(): Promise<void>;
  /** Its worker processes. */
  readonly pids: readonly number[];
  readonly table: string;
  /** Of what it keeps beside the rows. */
  readonly moreTables: readonly string[];
  copyKey(id: string): string;
  close(): Promise<unknown>;
}

export async function openTierline(deployment: Deployment): Promise<Way> {
  const producer = await openProducer(deployment.options);
  const workers = await Promise.all([0, 1].map(() => startWorker('drain', deployment.env)));
  return {
    submit: (items) => producer.submitMany(items),
    settled: () => producer.flush(),
    pids: workers.map(({ child }) => child.pid as number),
    table: 'items',
    moreTables: ['merkle_leaf', 'merkle_path', 'merkle_delta'],
    copyKey: (id) => deployment.keys.item(id),
    async close() {
      await Promise.all(workers.map((worker) => worker.stop()));
      await producer.close();
    },
  };
}

/** A queue with two worker processes. */
export async function openQueue(name: string, peer: WritePeer, deployment: Deployment): Promise<Way> {
  const place = placeOf(name, deployment.config);
  await createTable(place);
  const intake = await peer.open(place);
  const workers = await WorkerPair.start(name, deployment.env);
  let accepted = 0;
  return {
    async submit(items) {
      await intake.submit(items);
      accepted += items.length;
    },
    settled: () => workers.reach(accepted),
    pids: workers.pids,
    table: place.table,
    moreTables: [],
    copyKey: (id) => copyKey(place, id),
    async close() {
      await workers.stop();
      await intake.close();
    },
  };
}

/** No queue: the service writes the rows and copies of each call itself, and waits for them. */
export async function openWriteThrough(deployment: Deployment): Promise<Way> {
  const place = placeOf('write_through', deployment.config);
  await createTable(place);
  const writer = new ItemWriter(place);
  return {
    submit: (items) => writer.write(items),
    settled: () => Promise.resolve(),
    pids: [],
    table: place.table,
    moreTables: [],
    copyKey: (id) => copyKey(place, id),
    close: () => writer.close(),
  };
}

async function createTable(place: Place): Promise<void> {
  const writer = new ItemWriter(place);
  await writer.createTable();
  await writer.close();
}

/** How many of the items have another content, or none, as row or as copy. */
export async function countWrong(
  way: Way,
  { pool, cache }: Deployment,
  items: readonly NewItem[],
): Promise<number> {
  const ids = items.map(({ id }) => id);
  const { rows } = await pool.query<{ id: string; content: string }>(
    `SELECT id, content::text FROM ${way.table} WHERE id = ANY($1)`,
    [ids],
  );
  const stored = new Map(rows.map(({ id, content }) => [id, content]));
  const copies = await cache.mget(ids.map((id) => way.copyKey(id)));
  return items.filter(({ id, content }, i) => {
    const text = stored.get(id);
    // Not as text: pg-boss keeps data as jsonb, which reorders keys. Tierline's copies begin with stamps and digests.
    const isRight = text !== undefined && isDeepStrictEqual(JSON.parse(text), content);
    return !isRight || !copies[i]?.endsWith(text);
  }).length;
}
