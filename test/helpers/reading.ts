import { loadConfig } from '../../src/config.ts';
import { TierlineError } from '../../src/errors.ts';
import { createLogger } from '../../src/log.ts';
import { Shards } from '../../src/postgres/shards.ts';
import { connectReader } from '../../src/read/open-reader.ts';
import { createRedis } from '../../src/redis/driver.ts';
import { shardsOf } from '../../src/shard-list.ts';
import { knownLanes } from './known-lanes.ts';
import type { ReaderReport } from './reader-process.ts';

/** The program of `startReaderProcess`. */
const ids = Array.from({ length: Number(process.argv[2]) }, (_, n) => `k.${n}`);
const config = loadConfig();
const log = createLogger('reading', 'silent');
const reader = await connectReader(config, log);

const seen = new Map<string, number>();
const wentBack = new Set<string>();
let reads = 0;
let failed = 0;
const end = new AbortController();

/** Deleted items have no version to compare: only what was given out counts. */
function note(id: string, version: number | undefined): void {
  reads++;
  if (version === undefined) return;
  if (version < (seen.get(id) ?? 0)) wentBack.add(`${id}: ${version} after ${seen.get(id)}`);
  else seen.set(id, version);
}

function randomId(): string {
  return ids[Math.floor(Math.random() * ids.length)] as string;
}

/** Reads one after another, so that each is after what the one before it gave. */
async function readOn(): Promise<void> {
  while (!end.signal.aborted) {
    try {
      const id = randomId();
      const way = Math.random();
      if (way < 0.5) note(id, (await reader.get(id))?.version);
      else if (way < 0.7) note(id, reader.peek(id)?.version);
      else if (way < 0.95)
        for (const item of await reader.getMany([id, randomId(), randomId()]))
          note(item?.id ?? id, item?.version);
      else for (const item of (await reader.getByPrefix(id, { limit: 5 })).items) note(item.id, item.version);
    } catch (error) {
      if (!(error instanceof TierlineError)) throw error;
      failed++;
    }
    // Hits in L1 would take all the time of the machine, and those who write and are cut off need some.
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function report(): Promise<ReaderReport> {
  end.abort();
  await running;
  const shards = Shards.open(shardsOf(config), 1, log);
  const redis = createRedis(config.redisUrl, 'patient', log);
  const { keys } = await knownLanes(redis, config.namespace);
  for (const [partition, { clock }] of keys.entries()) {
    for (;;) {
      const [epoch, entries] = await redis.hmget(clock, 'epoch', 'entries');
      if (reader.hasReached({ epoch: epoch ?? '', number: Number(entries) }, partition)) break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  const rows = await shards.each(({ pool }) =>
    pool.query<{ id: string; cv: number; sv: number; deleted: boolean }>(
      'SELECT id, content_version AS cv, state_version AS sv, deleted FROM items',
    ),
  );
  const byId = new Map(rows.flatMap((part) => part.rows).map((row) => [row.id, row]));
  const stale: string[] = [];
  let compared = 0;
  const denied = ids.filter((id) => byId.get(id)?.deleted === false && reader.definitelyMissing(id));
  for (const [id, held] of reader.served()) {
    compared++;
    const row = byId.get(id);
    const same = held.contentVersion === (row?.cv ?? 0) && held.stateVersion === (row?.sv ?? 0);
    const present = row !== undefined && !row.deleted;
    if (!same || (held.item !== undefined) !== present)
      stale.push(`${id}: ${held.contentVersion} instead of ${row?.cv}`);
  }
  for (const id of ids) {
    if (byId.get(id)?.deleted === false && !(await reader.contains(id))) denied.push(`${id} by contains`);
  }
  await shards.close();
  redis.disconnect();
  return {
    reads,
    failed,
    wentBack: [...wentBack],
    compared,
    stale,
    denied,
    flushes: reader.counters.l1.flushes,
  };
}

const running = Promise.all(Array.from({ length: 8 }, readOn));
process.on('message', () => {
  void report().then((answer) => process.send?.(answer));
});
process.on('disconnect', () => process.exit(0));
process.send?.('reading');
