import test from 'ava';
import { countLost, forgetLost, lostIds, MAX_LISTED, noteLost, saveTurn } from '../../src/redis/copies.ts';
import { sweepAll } from '../helpers/copies.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';

test('I10: the list of lost writes is bounded, and those without room in it are counted', async (t) => {
  const deployment = await createDeployment(ONE_LANE);
  t.teardown(() => deployment.close());
  const { redis, keys } = deployment;
  const turn = await sweepAll(deployment);
  const ids = Array.from({ length: MAX_LISTED + 5 }, (_, i) => `id.${i}`);
  t.deepEqual(await noteLost(redis, keys, turn.number, ids), { fresh: ids.length, unlisted: 5 });
  t.is((await lostIds(redis, keys, ids.length)).length, MAX_LISTED);
  await saveTurn(redis, keys, { ...turn, number: turn.number + 1, unlisted: 5 });
  t.is(await countLost(redis, keys), ids.length);

  // Seen again: known ones keep their place, and the others get what has become free.
  await forgetLost(redis, keys, ids.slice(0, 3));
  t.deepEqual(await noteLost(redis, keys, turn.number + 1, ids.slice(3)), { fresh: 5, unlisted: 2 });
  t.is((await lostIds(redis, keys, ids.length)).length, MAX_LISTED);
});
