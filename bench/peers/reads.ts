import { openProducer } from '../../src/producer/open-producer.ts';
import type { NewItem } from '../../src/types/write.ts';
import type { Deployment } from '../../test/helpers/deployment.ts';
import { startWorker } from '../../test/helpers/worker-process.ts';
import { documents } from '../documents.ts';
import { type Emit, perSecond, timed } from '../metric.ts';
import { figure, inRounds } from '../rounds.ts';
import { bentoCache } from './bento-cache.ts';
import { cacheable } from './cacheable.ts';
import { handWritten } from './hand-written.ts';
import { ItemWriter } from './item-writer.ts';
import { type Place, placeOf } from './place.ts';
import type { PeerReader, ReadPeer } from './read-peer.ts';
import { tierlineReader } from './tierline-reader.ts';

const PEERS: Readonly<Record<string, ReadPeer>> = {
  tierline: tierlineReader,
  hand_written: handWritten,
  bentocache: bentoCache,
  cacheable,
};

/** Ids of a call. */
const CALL = 500;
const CALLS = 8;
/** One turn for each round and the one before them that does not count: each id is read for the first time. */
const TURNS = 6;
const HOT_IDS = 1000;
const HOT_GETS = 50_000;

/** Single gets that are in memory already, and calls of 500 ids that are only in Redis, or only in Postgres: all readers in turns. */
export async function reads(emit: Emit, deployment: Deployment): Promise<void> {
  const inRedis = documents(CALL * CALLS * TURNS, 'cached');
  const inPostgres = documents(CALL * CALLS * TURNS, 'stored');
  const table = placeOf('reads', deployment.config);
  await storeInTierline(deployment, inRedis, inPostgres);
  await storeInTable(table, [...inRedis, ...inPostgres]);
  const readers: Record<string, PeerReader> = {};
  for (const [name, peer] of Object.entries(PEERS)) {
    const place = { ...placeOf(name, deployment.config), table: table.table };
    const filler = await peer.open(place, deployment);
    for (const call of callsOf(inRedis)) await filler.fill(call);
    await filler.close();
    // Another reader has nothing in its memory.
    readers[name] = await peer.open(place, deployment);
  }
  try {
    await compare(emit, 'get_many_redis', readers, firstReads(deployment, inRedis));
    await compare(emit, 'get_many_postgres', readers, firstReads(deployment, inPostgres));
    await compare(emit, 'hot_get', readers, hotGets(inRedis.slice(0, HOT_IDS)));
  } finally {
    for (const reader of Object.values(readers)) await reader.close();
  }
}

/** @param read reads as many ids as it returns; called once a turn of each reader */
async function compare(
  emit: Emit,
  metric: string,
  readers: Readonly<Record<string, PeerReader>>,
  read: (reader: PeerReader) => () => Promise<number>,
): Promise<void> {
  const measures = Object.entries(readers).map(([name, reader]) => [name, read(reader)]);
  const rounds = await inRounds<Record<string, number>>(Object.fromEntries(measures), TURNS - 1);
  for (const name of Object.keys(readers)) {
    emit(
      `${name}_${metric}_per_s`,
      figure(rounds, (round) => round[name] as number),
      '1/s',
    );
  }
  for (const name of Object.keys(readers).filter((reader) => reader !== 'tierline')) {
    const ratio = figure(rounds, (round) => (round['tierline'] as number) / (round[name] as number));
    emit(`${metric}_ratio_vs_${name}`, ratio, 'x');
  }
}

/** Ids a second, read in calls one after another. Each turn takes ids that no turn has read. */
function firstReads(
  { cache }: Deployment,
  items: readonly NewItem[],
): (reader: PeerReader) => () => Promise<number> {
  return (reader) => {
    const calls = callsOf(items).map((call) => call.map(({ id }) => id));
    return async () => {
      const turn = calls.splice(0, CALLS);
      const ms = await timed(async () => {
        for (const ids of turn) {
          const contents = await reader.getMany(ids);
          if (contents.length !== ids.length || contents.includes(undefined))
            throw new Error('not all were found');
        }
      });
      // Copies are filled in beside the reads: the next reader must not pay for them.
      for (let before = -1, now = 0; before !== now; ) {
        before = now;
        await new Promise((resolve) => setTimeout(resolve, 50));
        now = await cache.dbsize();
      }
      return perSecond(CALL * CALLS, ms);
    };
  };
}

/** Gets a second of ids that were read before, one after another. */
function hotGets(items: readonly NewItem[]): (reader: PeerReader) => () => Promise<number> {
  const ids = items.map(({ id }) => id);
  return (reader) => async () => {
    await reader.getMany(ids);
    const ms = await timed(async () => {
      for (let i = 0; i < HOT_GETS; i++) {
        if ((await reader.get(ids[i % HOT_IDS] as string)) === undefined) throw new Error('not found');
      }
    });
    return perSecond(HOT_GETS, ms);
  };
}

/** Through its drain; the second half then loses its copies. */
async function storeInTierline(
  deployment: Deployment,
  inRedis: readonly NewItem[],
  inPostgres: readonly NewItem[],
): Promise<void> {
  const producer = await openProducer(deployment.options);
  const worker = await startWorker('drain', deployment.env);
  for (const call of callsOf([...inRedis, ...inPostgres])) await producer.submitMany(call);
  await producer.flush();
  await worker.stop();
  await producer.close();
  await deployment.cache.del(inPostgres.map(({ id }) => deployment.keys.item(id)));
  await deployment.pool.query('VACUUM ANALYZE items');
}

async function storeInTable(place: Place, items: readonly NewItem[]): Promise<void> {
  const writer = new ItemWriter(place);
  await writer.createTable();
  for (const call of callsOf(items)) await writer.write(call);
  await writer.vacuum();
  await writer.close();
}

function callsOf(items: readonly NewItem[]): NewItem[][] {
  return Array.from({ length: Math.ceil(items.length / CALL) }, (_, i) =>
    items.slice(i * CALL, (i + 1) * CALL),
  );
}
