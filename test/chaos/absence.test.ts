import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { openProducer } from '../../src/producer/open-producer.ts';
import { answerOf } from '../helpers/answer-of.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { startProxy } from '../helpers/proxy.ts';
import { startWorker } from '../helpers/worker-process.ts';

const SECONDS = 15;
/** Where a round takes seconds, as many more rounds as show something. */
const MAX_SECONDS = 90;
const MIN_ASKED = 300;
const WORKERS = 3;
const ADDED = 100;
const DELETED = 60;
const REVIVED = 20;
/** Each round has one cut at a random moment, so that readers find their way back before the next. */
const CUT_WITHIN_MS = 400;
/** Rounds after which a reader ends and another starts, from the snapshot that is stored by then. */
const RENEW_EVERY = 10;

interface Answer {
  readonly denied: readonly string[];
  readonly loads: number;
  readonly trusted: boolean;
  readonly absent: number;
}

/** `test/helpers/asking.ts` as a process. */
async function startAsking(env: NodeJS.ProcessEnv): Promise<ChildProcess> {
  const file = fileURLToPath(new URL('../helpers/asking.js', import.meta.url));
  const child = fork(file, [], { env });
  await answerOf(child);
  return child;
}

async function ask(child: ChildProcess, ids: readonly string[]): Promise<Answer> {
  const answer = answerOf(child);
  child.send(ids);
  return (await answer) as Answer;
}

test('I7: two reader processes deny nothing that several workers settled, while filters are lost, rebuilt and loaded again', async (t) => {
  const deployment = await createDeployment();
  const relay = await startProxy(deployment.options.redisUrl);
  const env = { ...deployment.env, TIERLINE_FILTER_SNAPSHOT_EVERY_MS: '1000' };
  const readerEnv = { ...env, REDIS_URL: relay.url, TIERLINE_L2_TIMEOUT_MS: '60000' };
  const workers = await Promise.all([
    ...Array.from({ length: WORKERS }, () => startWorker('drain', env)),
    startWorker('maintenance', env),
  ]);
  const readers = await Promise.all([startAsking(readerEnv), startAsking(readerEnv)]);
  const producer = await openProducer(deployment.options);
  t.teardown(async () => {
    for (const reader of readers) reader.kill('SIGKILL');
    await producer.close();
    for (const worker of workers) await worker.stop();
    await relay.close();
    await deployment.close();
  });

  const totals = { asked: 0, loads: 0, absent: 0, trusted: 0 };
  let before: string[] = [];
  const began = Date.now();
  const isEnough = () => {
    const seconds = (Date.now() - began) / 1000;
    const hasShown = totals.asked > MIN_ASKED && totals.trusted > 0 && totals.loads > 1;
    return seconds > MAX_SECONDS || (seconds > SECONDS && hasShown);
  };
  for (let round = 0; !isEnough(); round++) {
    setTimeout(() => relay.cut(), Math.random() * CUT_WITHIN_MS);
    // Durable only: no copy in L2 answers in the filter's place.
    const ids = Array.from({ length: ADDED }, (_, i) => `r${round}.${i}`);
    const added = await producer.submitMany(
      ids.map((id) => ({ id, content: round })),
      { tiers: 'durable' },
    );
    const gone = before.slice(0, DELETED);
    await producer.deleteMany(gone);
    const revived = gone.slice(0, REVIVED);
    await producer.submitMany(
      revived.map((id) => ({ id, content: round })),
      { tiers: 'durable' },
    );
    await added.settled();
    await producer.flush();

    const alive = [...ids, ...revived, ...before.slice(DELETED)];
    const answers = await Promise.all(readers.map((reader) => ask(reader, alive)));
    for (const { denied, loads, absent, trusted } of answers) {
      t.deepEqual(denied, [], `round ${round}`);
      totals.asked += alive.length;
      totals.loads = Math.max(totals.loads, loads);
      totals.absent = Math.max(totals.absent, absent);
      if (trusted) totals.trusted++;
    }
    before = ids;
    if (round % RENEW_EVERY === RENEW_EVERY - 1) {
      readers[0]?.kill('SIGKILL');
      readers[0] = await startAsking(readerEnv);
    }
  }
  t.log(totals);
  t.true(totals.asked > MIN_ASKED && totals.trusted > 0, 'a filter was believed');
  t.true(totals.loads > 1, 'a filter was loaded again');
});
