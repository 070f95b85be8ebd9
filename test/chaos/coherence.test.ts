import test, { type ExecutionContext } from 'ava';
import type { Options } from '../../src/config.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import type { Producer } from '../../src/types/write.ts';
import { TierlineError } from '../../src/errors.ts';
import { createDeployment, type Deployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { type Proxy, startProxy } from '../helpers/proxy.ts';
import { type ReaderReport, startReaderProcess } from '../helpers/reader-process.ts';
import { startRedisServer } from '../helpers/redis-server.ts';
import { unfinishedJobs } from '../helpers/unfinished-jobs.ts';
import { startWorker } from '../helpers/worker-process.ts';

const IDS = 300;
const READERS = 4;
const WRITERS = 20;
const SECONDS = Number(process.env['SOAK_SECONDS'] ?? 8);
const EVERY_MS = 300;
const QUIET_MS = 2000;
/** Between two restarts of Redis: time enough for readers to find it again and fill L1. */
const RESTART_EVERY_MS = 1500;

/** Writes at random until told to stop; then waits until all that was accepted has settled. */
function keepWriting(producer: Producer): () => Promise<number> {
  const end = new AbortController();
  let writes = 0;
  const write = async () => {
    const id = `k.${Math.floor(Math.random() * IDS)}`;
    const kind = Math.random();
    if (kind < 0.1) await producer.delete(id);
    else if (kind < 0.3) await producer.setState(id, kind < 0.2 ? 'open' : 'shut');
    else await producer.submit({ id, content: { n: writes } });
    writes++;
  };
  const writeOn = async () => {
    while (!end.signal.aborted) {
      try {
        await write();
      } catch (error) {
        if (!(error instanceof TierlineError)) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  const work = Promise.all(Array.from({ length: WRITERS }, writeOn));
  return async () => {
    end.abort();
    await work;
    await producer.flush();
    return writes;
  };
}

/** Four reader processes behind a relay to Redis, a writer and two workers, while `meddle` is done again and again. */
async function run(
  t: ExecutionContext,
  meddle: (relay: Proxy, deployment: Deployment) => Promise<unknown>,
  options: Options = {},
): Promise<ReaderReport[]> {
  const deployment = await createDeployment(options);
  const relay = await startProxy(deployment.options.redisUrl);
  // They start together and under cuts: nothing here is about the time that it takes.
  const env = { ...deployment.env, REDIS_URL: relay.url, TIERLINE_L2_TIMEOUT_MS: '60000' };
  // A chunk that a worker lost with its connection comes back when its lock has expired.
  const workerEnv = { ...deployment.env, TIERLINE_CHUNK_LOCK_MS: '5000' };
  const workers = await Promise.all([1, 2].map(() => startWorker('drain', workerEnv)));
  const readers = await Promise.all(Array.from({ length: READERS }, () => startReaderProcess(env, IDS)));
  const producer = await openProducer(deployment.options);
  t.teardown(async () => {
    await producer.close();
    for (const stoppable of [...readers, ...workers]) await stoppable.stop();
    await relay.close();
    await deployment.close();
  });
  const stop = keepWriting(producer);
  const until = Date.now() + SECONDS * 1000;
  while (Date.now() < until) {
    await meddle(relay, deployment);
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
  // Undisturbed for a while, so that there is something in L1 to be compared.
  await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
  const writes = await stop();
  // A write that was refused while Redis was away, its fate unknown, may be in the queue all the same.
  await eventually(async () => (await unfinishedJobs(deployment)) === 0, 'the queue is empty', 60_000);
  const reports = await Promise.all(readers.map((reader) => reader.report()));
  t.log(
    `${writes} writes`,
    ...reports.map(
      ({ reads, failed, compared, flushes }) =>
        `${reads} reads, ${failed} failed, ${compared} compared, ${flushes} flushes`,
    ),
  );
  return reports;
}

function isCoherent(t: ExecutionContext, reports: readonly ReaderReport[]): void {
  for (const { wentBack, stale, denied, compared, reads } of reports) {
    t.deepEqual(wentBack, [], 'no read went back');
    t.deepEqual(stale, [], 'no L1 entry differs from Postgres');
    t.deepEqual(denied, [], 'nothing that exists was denied');
    t.true(compared > 0 && reads > 0, `${compared} entries compared after ${reads} reads`);
  }
}

test.serial(
  'I6 I7: readers whose connections are cut all the time end coherent and never go back',
  async (t) => {
    isCoherent(t, await run(t, async (relay) => relay.cut()));
  },
);

test.serial('I6 I7: the same when the stream is trimmed below their cursors', async (t) => {
  const reports = await run(t, async (relay, { redis, lanes }) => {
    await relay.refuse();
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS / 3));
    for (const { feed } of lanes.keys) await redis.xtrim(feed, 'MAXLEN', 0);
    await relay.open();
  });
  isCoherent(t, reports);
  t.true(
    reports.some(({ flushes }) => flushes > 0),
    'some entries were missed',
  );
});

test.serial('I6 I7: the same when Redis itself is killed and started again', async (t) => {
  const server = await startRedisServer();
  // First added, last run: the deployment's own clean-up needs it.
  t.teardown(() => server.close());
  let restarts = 0;
  const reports = await run(
    t,
    async () => {
      await server.restart();
      restarts++;
      await new Promise((resolve) => setTimeout(resolve, RESTART_EVERY_MS));
    },
    { redisUrl: server.url },
  );
  isCoherent(t, reports);
  t.true(restarts > 1, `${restarts} restarts`);
});
