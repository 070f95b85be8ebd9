import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { openProducer } from '../../src/producer/open-producer.ts';
import { runCommand } from '../helpers/command-line.ts';
import { createDeployment } from '../helpers/deployment.ts';

const deployment = await createDeployment();
const producer = await openProducer(deployment.options);
const drain = await startDrain(deployment.options);
const batch = await producer.submitMany([
  { id: 'a.1', content: 1, state: 'new' },
  { id: 'a.2', content: 2 },
]);
await batch.settled();
await producer.close();
await drain.close();
test.after.always(() => deployment.close());

for (const [line, expected] of [
  ['count', /^2\n$/],
  ['count --state new', /^1\n$/],
  ['get a.1 --json', /"id":"a\.1".*"content":1/],
  ['get a.1 --verify --json', /"id":"a\.1".*"content":1/],
  ['scan --prefix a. --ids', /^"a\.1"\n"a\.2"\n$/],
  ['merkle root', /items +2/],
  ['merkle prefix a', /items +2/],
  ['merkle verify', /agree/],
] as const) {
  test(`I8: with Redis away, tierline ${line} is answered by Postgres`, async (t) => {
    const env = { ...deployment.env, REDIS_URL: 'redis://127.0.0.1:1' };
    const { code, stdout, stderr } = await runCommand(env, line.split(' '));
    t.is(code, 0, stderr);
    t.regex(stdout, expected);
  });
}

test('I7: with Redis and Postgres away a command fails and says nothing of absence', async (t) => {
  const env = {
    ...deployment.env,
    REDIS_URL: 'redis://127.0.0.1:1',
    DATABASE_URL: 'postgres://127.0.0.1:1/x',
    TIERLINE_SHARDS: '',
  };
  for (const line of ['count', 'get a.1', 'merkle root']) {
    const { code, stderr } = await runCommand(env, line.split(' '));
    t.is(code, 1, line);
    t.regex(stderr, /ERR_TIER_UNAVAILABLE/, line);
  }
});
