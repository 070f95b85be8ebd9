import test from 'ava';
import { add, merge, total } from '../../examples/delta-counter.ts';
import { openStore, startDrain } from '../../src/index.ts';
import { createDeployment } from '../helpers/deployment.ts';

const MINUTE = 60_000;
const START = 1_800_000_000_000;

test('the delta counter: additions from two services, merged in closed buckets, count once each', async (t) => {
  const deployment = await createDeployment();
  const worker = await startDrain(deployment.options);
  const [a, b] = [await openStore(deployment.options), await openStore(deployment.options)];
  t.teardown(async () => {
    await Promise.all([a.close(), b.close(), worker.close()]);
    await deployment.close();
  });
  let expected = 0;
  async function addSome(now: number): Promise<void> {
    for (let i = 1; i <= 20; i++) {
      await Promise.all([add(a, 'likes', i, now), add(b, 'likes', 1, now), add(a, 'likes:other', 7, now)]);
      expected += i + 1;
    }
    await Promise.all([a.flush(), b.flush()]);
  }

  await addSome(START);
  await addSome(START + MINUTE);
  t.is(await total(b, 'likes'), expected);

  t.is(await merge(a, 'likes', START + 2 * MINUTE), 40, 'the first bucket is closed, the second is not');
  t.is(await total(b, 'likes'), expected);

  await addSome(START + 10 * MINUTE);
  // As after a crash between the base and the range delete: a merged bucket is still there.
  await a.submit({
    id: `delta:likes:${String(START / MINUTE).padStart(10, '0')}:again`,
    content: { amount: 1000 },
  });
  await a.flush();
  t.is(await total(b, 'likes'), expected, 'what the base holds is not counted again');
  t.is(await merge(b, 'likes', START + 11 * MINUTE), 41, 'and goes with the next merge');
  t.is(await total(a, 'likes'), expected);
  t.is(await a.countPrefix('delta:likes:0'), 40, 'the open bucket stays');
});
