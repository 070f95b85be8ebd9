import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { Queue } from 'bullmq';
import { startDrain } from '../../src/drain/start-drain.ts';
import { MAINTENANCE_QUEUE, WRITES_QUEUE } from '../../src/keys.ts';
import { REPLAY_JOB, requestReplay, requestVerify } from '../../src/maintenance/on-demand.ts';
import {
  finishReplay,
  isRunning,
  type ReplayParts,
  replayLetter,
  startReplay,
} from '../../src/maintenance/replay.ts';
import { startMaintenance } from '../../src/maintenance/start-maintenance.ts';
import { applyRows } from '../../src/postgres/apply-batch.ts';
import { areAllApplied, insertDeadLetters, listDeadLetters } from '../../src/postgres/dead-letters.ts';
import { VERIFY_STEPS } from '../../src/postgres/merkle-verify.ts';
import { readBacklog } from '../../src/redis/backlog.ts';
import { forgetReplay } from '../../src/redis/chunk-notes.ts';
import { openStore } from '../../src/store/open-store.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { json, rowsOf, state } from '../helpers/operations.ts';
import { refusePoison } from '../helpers/poison.ts';

async function setUp(t: ExecutionContext) {
  const deployment = await createDeployment(ONE_LANE);
  const { options, pool, shards, redis, keys, config } = deployment;
  const store = await openStore(options);
  const drain = await startDrain(options);
  const queueOf = (name: string) => new Queue(name, { connection: redis, prefix: keys.queuePrefix });
  const writes = queueOf(WRITES_QUEUE);
  const maintenance = queueOf(MAINTENANCE_QUEUE);
  t.teardown(async () => {
    await Promise.all([store.close(), drain.close(), writes.close(), maintenance.close()]);
    await deployment.close();
  });
  const poison = await refusePoison(pool);
  const parts: ReplayParts = { shards, redis, writes: [writes], lanes: deployment.lanes, config };
  const letters = () => listDeadLetters(pool, 100);
  const seqOf = async (id: string) => {
    const letter = (await letters()).find(({ itemId }) => itemId === id);
    if (letter === undefined) throw new Error(`no letter of ${id}`);
    return letter.seq;
  };
  return { deployment, store, parts, poison, letters, seqOf, maintenance };
}

test('I3: a replay stores what was refused under the version it had, and removes its letter', async (t) => {
  const { store, parts, poison, letters, seqOf, deployment } = await setUp(t);
  const ticket = await store.submit({ id: 'a', content: 'poison', state: 'new' });
  t.is((await ticket.settled()).status, 'dead');
  await poison.lift();
  t.deepEqual(await replayLetter(parts, await seqOf('a')), { status: 'replayed', letters: 1 });
  t.deepEqual(await letters(), []);
  const item = await store.get('a');
  t.like(item, { content: 'poison', state: 'new', version: ticket.version });
  const { pendingItems, chunksInFlight } = await readBacklog(deployment.redis, deployment.lanes);
  t.deepEqual({ pendingItems, chunksInFlight }, { pendingItems: 0, chunksInFlight: 0 });
  t.deepEqual((await store.merkle.verify()).differences, []);
});

test('I4: a replay never undoes a newer write or delete', async (t) => {
  const { store, parts, poison, letters, seqOf } = await setUp(t);
  for (const id of ['newer', 'gone']) await (await store.submit({ id, content: 'poison' })).settled();
  await (await store.submit({ id: 'newer', content: 'sound' })).settled();
  await (await store.delete('gone')).settled();
  await poison.lift();
  t.is((await replayLetter(parts, await seqOf('newer'))).status, 'superseded');
  t.is((await replayLetter(parts, await seqOf('gone'))).status, 'superseded');
  t.deepEqual(await letters(), []);
  t.is((await store.get('newer'))?.content, 'sound');
  t.is(await store.get('gone'), undefined);
});

test('I4: what a later range delete covered does not come back', async (t) => {
  const { store, parts, poison, letters, seqOf } = await setUp(t);
  await (
    await store.submitMany([
      { id: 'uk.1', content: 'poison' },
      { id: 'fr.1', content: 'poison', state: 'old' },
      { id: 'de.1', content: 'poison' },
    ])
  ).settled();
  await (await store.deletePrefix('uk.')).settled();
  await (await store.deleteByState('old')).settled();
  await poison.lift();
  t.is((await replayLetter(parts, await seqOf('uk.1'))).status, 'superseded');
  t.is((await replayLetter(parts, await seqOf('fr.1'))).status, 'superseded');
  t.is((await replayLetter(parts, await seqOf('de.1'))).status, 'replayed');
  t.deepEqual(await letters(), []);
  t.deepEqual(
    (await store.getMany(['uk.1', 'fr.1', 'de.1'])).map((item) => item?.id),
    [undefined, undefined, 'de.1'],
  );
});

test('a range delete waits for a replay that came before it', async (t) => {
  const { deployment, parts, poison, store, seqOf } = await setUp(t);
  await (await store.submit({ id: 'uk.1', content: 'poison' })).settled();
  await poison.lift();
  const paused = parts.writes[0] as Queue;
  await paused.pause();
  const replay = await startReplay(parts, await seqOf('uk.1'));
  if (!isRunning(replay)) throw new Error(replay.status);
  const range = await store.deletePrefix('uk.');
  t.is(await finishReplay(parts, replay), undefined, 'still on its way');
  await paused.resume();
  await range.settled();
  t.deepEqual((await deployment.pool.query('SELECT id FROM items WHERE NOT deleted')).rows, []);
  await eventually(async () => (await finishReplay(parts, replay)) !== undefined, 'the replay settled');
});

test('what is refused again stays, with one attempt more', async (t) => {
  const { store, parts, letters, seqOf } = await setUp(t);
  await (await store.submit({ id: 'a', content: 'poison' })).settled();
  t.deepEqual(await replayLetter(parts, await seqOf('a')), {
    status: 'dead',
    letters: 1,
    reason: 'no poison here',
  });
  t.like((await letters())[0], { itemId: 'a', attempts: 2, sqlState: '23514' });
});

test('an atomic call is replayed as the whole it was, or not at all', async (t) => {
  const { store, parts, poison, letters, seqOf } = await setUp(t);
  const items = ['a', 'b', 'c'].map((id) => ({ id, content: id === 'b' ? 'poison' : 'sound' }));
  await (await store.submitMany(items, { atomic: true })).settled();
  t.is((await letters()).length, 3);
  t.is((await replayLetter(parts, await seqOf('a'))).status, 'dead');
  t.deepEqual(await store.getMany(['a', 'b', 'c']), [undefined, undefined, undefined]);
  await poison.lift();
  t.deepEqual(await replayLetter(parts, await seqOf('c')), { status: 'replayed', letters: 3 });
  t.deepEqual(await letters(), []);
  t.deepEqual(
    (await store.getMany(['a', 'b', 'c'])).map((item) => item?.id),
    ['a', 'b', 'c'],
  );
});

test('I3: an atomic call of which any letter is missing is not replayed in part', async (t) => {
  const { store, parts, poison, seqOf, deployment } = await setUp(t);
  const places = ['first', 'middle', 'last'];
  for (const missing of places) {
    const items = places.map((place) => ({ id: `${missing}.${place}`, content: 'poison' }));
    await (await store.submitMany(items, { atomic: true })).settled();
  }
  await poison.lift();
  for (const missing of places) {
    await deployment.pool.query('DELETE FROM dead_letters WHERE item_id = $1', [`${missing}.${missing}`]);
    for (const left of places.filter((place) => place !== missing)) {
      const outcome = await replayLetter(parts, await seqOf(`${missing}.${left}`));
      t.is(outcome.status, 'refused', `${left} without ${missing}`);
    }
  }
  t.is(await store.countPrefix(''), 0);
});

test('a letter that does not tell how long its atomic call was is replayed with the letters that are there', async (t) => {
  const { store, parts, poison, letters, seqOf, deployment } = await setUp(t);
  const items = ['a', 'b', 'c'].map((id) => ({ id, content: 'poison' }));
  await (await store.submitMany(items, { atomic: true })).settled();
  await poison.lift();
  await deployment.pool.query(`UPDATE dead_letters SET payload = payload::jsonb - 'whole'`);
  t.deepEqual(await replayLetter(parts, await seqOf('b')), { status: 'replayed', letters: 3 });
  t.deepEqual(await letters(), []);
});

test('I3: a replay that Redis lost keeps its letter, also when a later setState is in the row', async (t) => {
  const { store, parts, poison, letters, seqOf, deployment } = await setUp(t);
  await (await store.submit({ id: 'a', content: 'poison' })).settled();
  await poison.lift();
  t.is((await (await store.setState('a', 'later')).settled()).status, 'missing');
  const writes = parts.writes[0] as Queue;
  await writes.pause();
  const seq = await seqOf('a');
  const replay = await startReplay(parts, seq);
  if (!isRunning(replay)) throw new Error(replay.status);
  // A Redis that fails over loses its newest data: the job and the note.
  await (await writes.getJob(replay.chunkId))?.remove();
  await forgetReplay(deployment.redis, deployment.keys, replay.chunkId, []);
  t.is((await finishReplay(parts, replay))?.status, 'lost');
  t.is((await letters()).length, 1);
  await writes.resume();
  t.is((await replayLetter(parts, seq)).status, 'replayed');
  t.like(await store.get('a'), { content: 'poison', state: 'later' });
});

test('a replay that ends without a job leaves its ids pending only for other writes', async (t) => {
  const { store, parts, poison, seqOf, deployment } = await setUp(t);
  const { redis, keys, shards } = deployment;
  for (const id of ['fr.1', 'uk.1', 'uk.2']) await (await store.submit({ id, content: 'poison' })).settled();
  await (await store.deletePrefix('uk.')).settled();
  await poison.lift();
  await redis.hset(keys.pending, 'uk.2', '1');
  for (const id of ['uk.1', 'uk.2']) t.is((await replayLetter(parts, await seqOf(id))).status, 'superseded');
  t.is((await store.status('uk.1')).status, 'missing');

  // Postgres goes away between the note and the look for range deletes.
  shards.rowsOf = () => {
    throw new Error('away');
  };
  await t.throwsAsync(startReplay(parts, await seqOf('fr.1')), { message: 'away' });
  t.deepEqual(await redis.hgetall(keys.pending), { 'uk.2': '1' });
  t.is(await redis.zcard(keys.inflight), 0);
});

test('I3: an operation counts as applied only when each register that it writes is in the row', async (t) => {
  const { deployment } = await setUp(t);
  const { pool, shards } = deployment;
  const put = { kind: 'putJson', tiers: 'all', state: null };
  const cases: readonly [contentStamp: number, stateStamp: number, payload: object, applied: boolean][] = [
    [9, 30, put, false],
    [10, 0, put, true],
    [20, 0, put, true],
    [10, 9, { ...put, state: 'new' }, false],
    [10, 10, { ...put, state: 'new' }, true],
    [30, 9, { ...put, kind: 'setState', state: 'new' }, false],
    [0, 10, { ...put, kind: 'setState', state: 'new' }, true],
    [9, 30, { ...put, kind: 'delete' }, false],
    [30, 9, { ...put, kind: 'delete' }, false],
    [10, 10, { ...put, kind: 'delete' }, true],
    // Rows of another deployment.
    [10, 0, { ...put, kind: 'delete', stateStamp: 0 }, true],
    [10, 4, { ...put, state: 'new', stateStamp: 5 }, false],
    [10, 5, { ...put, state: 'new', stateStamp: 5 }, true],
    [10, 5, { ...put, state: 'new', stateStamp: null }, false],
    [0, 0, put, false],
    [0, 0, { ...put, tiers: 'cache' }, true],
  ];
  for (const [i, [contentStamp, stateStamp, payload, applied]] of cases.entries()) {
    const id = `case.${i}`;
    const ops = [
      ...(contentStamp > 0 ? [json(id, contentStamp)] : []),
      ...(stateStamp > 0 ? [state(id, stateStamp)] : []),
    ];
    if (ops.length > 0) await applyRows(pool, rowsOf(ops), randomUUID());
    const letter = { itemId: id, stamp: 10, chunkId: id, payload: JSON.stringify(payload) };
    await insertDeadLetters(pool, [{ ...letter, sqlState: undefined, message: 'refused' }]);
    const [newest] = await listDeadLetters(pool, 1);
    t.is(await areAllApplied(shards, [newest?.seq ?? 0]), applied, JSON.stringify(cases[i]));
  }
});

test('a letter of before the purge horizon is not replayed: its tombstone may be gone', async (t) => {
  const { store, parts, poison, letters, seqOf, deployment } = await setUp(t);
  await (await store.submit({ id: 'a', content: 'poison' })).settled();
  await poison.lift();
  const age = 0.95 * parts.config.purgeAfterMs * 1000;
  await deployment.pool.query('UPDATE dead_letters SET stamp = stamp - $1', [age]);
  const outcome = await replayLetter(parts, await seqOf('a'));
  t.is(outcome.status, 'refused');
  t.regex(outcome.reason ?? '', /purge horizon/);
  t.is((await letters()).length, 1);
});

test('a letter that is no operation is refused, one that is gone is told', async (t) => {
  const { parts, deployment, letters } = await setUp(t);
  await deployment.pool.query(
    `INSERT INTO dead_letters (item_id, stamp, chunk_id, payload, message)
     VALUES ('job:x', $1, 'x', '{"not":"ours"}', 'not a chunk'), ('job:y', $1, 'y', 'not JSON', 'not a chunk')`,
    [Date.now() * 1000],
  );
  for (const { seq } of await letters()) t.is((await replayLetter(parts, seq)).status, 'refused');
  t.is((await letters()).length, 2);
  t.is((await replayLetter(parts, 999)).status, 'gone');
});

test('maintenance replays and verifies when asked, tells its progress, and goes on with its chores', async (t) => {
  const { deployment, store, poison, letters, seqOf, maintenance } = await setUp(t);
  await (
    await store.submitMany(Array.from({ length: 50 }, (_, i) => ({ id: `x.${i}`, content: i })))
  ).settled();
  await (await store.submit({ id: 'a', content: 'poison' })).settled();
  await (await store.delete('x.1')).settled();
  await poison.lift();
  const service = await startMaintenance(deployment.options);
  t.teardown(() => service.close());

  const [verify, again] = await Promise.all([requestVerify(maintenance), requestVerify(maintenance)]);
  t.is(verify, again, 'one at a time');
  await eventually(async () => (await maintenance.getJob(verify))?.finishedOn !== undefined, 'verified');
  const verified = await maintenance.getJob(verify);
  t.like(verified?.returnvalue, { ok: true, rows: 50, differences: [] });
  t.deepEqual(verified?.progress, { done: VERIFY_STEPS, of: VERIFY_STEPS, rows: 50 });

  const seq = await seqOf('a');
  const replay = await requestReplay(maintenance, seq);
  await eventually(async () => (await letters()).length === 0, 'replayed');
  await eventually(async () => (await maintenance.getJob(replay))?.finishedOn !== undefined, 'told');
  const replayed = await maintenance.getJob(replay);
  t.is(replayed?.name, REPLAY_JOB);
  t.deepEqual(replayed?.returnvalue, { status: 'replayed', letters: 1 });
  t.is((await store.get('a'))?.content, 'poison');
  const chores = await deployment.redis.hgetall(deployment.keys.chores);
  t.true(chores['fold'] !== undefined && !('verify' in chores));
});
