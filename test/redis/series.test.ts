import test from 'ava';
import { keysOf } from '../../src/keys.ts';
import { createLogger } from '../../src/log.ts';
import { createRedis } from '../../src/redis/driver.ts';
import { quantile, readSeries, recordSettled, SLOT_MS, stepOf } from '../../src/redis/history.ts';
import { replayChunkId } from '../../src/schema/job.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';

const deployment = await createDeployment(ONE_LANE);
test.after.always(() => deployment.close());

const NOW = Date.UTC(2026, 0, 1, 12, 0, 5);

function chunk(items: number, acceptedMs: number, chunkId = 'c') {
  const ids = Array.from({ length: items }, (_, i) => `id.${i}`);
  return {
    chunkId,
    job: {
      v: 1 as const,
      first: acceptedMs * 1000,
      ids,
      kinds: 'd'.repeat(items),
      bodies: ids.map(() => ''),
      hashes: ids.map(() => ''),
    },
  };
}

test.serial('what settled is counted in its slot, with the latency its items had', async (t) => {
  const { redis, keys, log } = deployment;
  const parts = { queue: redis, keys, log };
  recordSettled(parts, NOW - 30_000, [chunk(99, NOW - 30_100), chunk(1, NOW - 34_000)]);
  recordSettled(parts, NOW - 30_000, [chunk(100, NOW - 30_100)]);
  const slotOf = async () =>
    (await readSeries(redis, keys, NOW)).find(
      ({ atMs }) => atMs === Math.floor((NOW - 30_000) / SLOT_MS) * SLOT_MS,
    );
  await eventually(async () => (await slotOf())?.items === 200, 'both batches counted');
  const slot = await slotOf();
  // Steps of half an octave: the next one above 100 ms.
  t.is(slot?.p50Ms, 128);
  t.is(slot?.p99Ms, 128);
});

test.serial('the series is one hour of slots, oldest first, and its keys expire', async (t) => {
  const { redis, keys } = deployment;
  const series = await readSeries(redis, keys, NOW);
  t.is(series.length, 360);
  t.true(series.every(({ atMs }, i) => i === 0 || atMs - (series[i - 1]?.atMs ?? 0) === SLOT_MS));
  t.true((series.at(-1)?.atMs ?? 0) + SLOT_MS <= NOW, 'the newest slot has ended');
  const ttl = await redis.ttl(keys.series(Math.floor((NOW - 30_000) / 60_000)));
  t.true(ttl > 3600 && ttl <= 3900);
});

test.serial('a replayed dead letter counts for nothing: its stamp is of long ago', async (t) => {
  const { redis, keys, log } = deployment;
  recordSettled({ queue: redis, keys, log }, NOW - 600_000, [chunk(5, NOW - 9_000_000, replayChunkId('x'))]);
  recordSettled({ queue: redis, keys, log }, NOW - 600_000, [chunk(7, NOW - 600_001)]);
  const items = async () =>
    (await readSeries(redis, keys, NOW))
      .filter(({ atMs }) => atMs <= NOW - 600_000)
      .reduce((sum, slot) => sum + slot.items, 0);
  await eventually(async () => (await items()) > 0, 'the second batch counted');
  t.is(await items(), 7);
});

test('a server that is away costs the batch nothing', async (t) => {
  const redis = createRedis('redis://127.0.0.1:1', 'failFast', createLogger('test', 'silent'));
  t.notThrows(() =>
    recordSettled({ queue: redis, keys: keysOf('x'), log: createLogger('test', 'silent') }, NOW, [
      chunk(1, NOW),
    ]),
  );
  redis.disconnect();
});

test('a latency is read back at most 1.42 times too high, never too low', (t) => {
  for (let ms = 1; ms < 10_000_000; ms = Math.ceil(ms * 1.3)) {
    const read = quantile([[stepOf(ms), 1]], 1, 0.5) ?? 0;
    t.true(read >= ms - 1 && read <= ms * 1.42 + 1, `${ms} ms read as ${read}`);
  }
  t.is(quantile([], 0, 0.5), undefined);
});
