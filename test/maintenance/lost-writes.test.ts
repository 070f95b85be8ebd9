import test, { type ExecutionContext } from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { discardCopies, restoreCopies } from '../../src/maintenance/lost-writes.ts';
import { merkleRoot } from '../../src/postgres/merkle-nodes.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { readBacklog } from '../../src/redis/backlog.ts';
import { countLost, lostIds } from '../../src/redis/copies.ts';
import type { Pool } from '../../src/postgres/pool.ts';
import { sweepOrphanedChunks } from '../../src/redis/chunk-notes.ts';
import { Shards } from '../../src/postgres/shards.ts';
import { openStore } from '../../src/store/open-store.ts';
import { copyKey, lostWritePartsOf, readCopy, restamped, plantCopy, sweepAll } from '../helpers/copies.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { laggingReplica } from '../helpers/failover.ts';
import { refusePoison } from '../helpers/poison.ts';
import { asCopy, storedCopies, storedRows } from '../helpers/stored-rows.ts';
import { closing } from '../helpers/setting.ts';

async function setUp(t: ExecutionContext) {
  const deployment = closing(t, await createDeployment(ONE_LANE));
  const { options, redis, keys, pool } = deployment;
  const store = closing(t, await openStore({ ...options, l1MaxBytes: 0 }));
  closing(t, await startDrain(options));
  const put = async (id: string, content: string | Uint8Array, state?: string) => {
    const ticket = await store.submit({ id, content, ...(state === undefined ? {} : { state }) });
    await ticket.settled();
    return ticket.version;
  };
  const lost = () => lostIds(redis, keys, 100);
  const parts = lostWritePartsOf(deployment);
  const outcomesOf = async (ids: readonly string[]) =>
    (await restoreCopies(parts, ids)).map(({ id, status }) => [id, status]);
  /** Rows, tombstones, tree and copies say the same, and nothing is on its way. */
  const assertAgreement = async () => {
    const rows = await storedRows(pool);
    t.deepEqual(await storedCopies(deployment, rows), rows.map(asCopy));
    t.deepEqual((await verifyMerkle(pool)).differences, []);
    const { pendingItems, chunksInFlight } = await readBacklog(redis, deployment.lanes);
    t.deepEqual({ pendingItems, chunksInFlight }, { pendingItems: 0, chunksInFlight: 0 });
  };
  return { deployment, store, put, lost, parts, outcomesOf, assertAgreement };
}

/** The same pool; `act` comes before each transaction. */
function beforeTransaction(pool: Pool, act: () => Promise<unknown>): Pool {
  return Object.assign(Object.create(pool) as Pool, {
    connect: async (...args: unknown[]) => {
      // A pool's own queries connect with a callback.
      if (args.length === 0) await act();
      return (pool.connect as (...given: unknown[]) => unknown)(...args);
    },
  });
}

/** How many transactions wait for a lock of the table. */
async function waiting(pool: Pool, table: string): Promise<number> {
  const { rows } = await pool.query<{ waiting: number }>(
    `SELECT count(*) AS waiting FROM pg_locks l JOIN pg_database d ON d.oid = l.database
     WHERE d.datname = current_database() AND relation = $1::regclass AND NOT granted`,
    [table],
  );
  return rows[0]?.waiting ?? 0;
}

test('I3: settled writes that a failover of Postgres lost are found, kept, and restored as they were', async (t) => {
  const { deployment, store, put, lost, outcomesOf, assertAgreement } = await setUp(t);
  const { pool, redis } = deployment;
  for (const id of ['same', 'over', 'deleted', 'state', 'both', 'uk.1', 'uk.2']) await put(id, 'old', 'new');
  const replica = await laggingReplica(deployment);
  await put('over', 'newer');
  await put('fresh', 'fresh', 'new');
  await put('binary', new Uint8Array([0, 255]));
  await (await store.delete('deleted')).settled();
  await (await store.setState('state', 'done')).settled();
  await put('both', 'newer');
  await (await store.setState('both', 'done')).settled();
  await (await store.deletePrefix('uk.')).settled();
  const before = { rows: await storedRows(pool), root: await merkleRoot(pool) };
  await replica.failOver();
  t.true((await verifyMerkle(pool)).ok, 'Postgres agrees with itself');
  t.notDeepEqual(await storedRows(pool), before.rows);

  const turn = await sweepAll(deployment);
  t.like(turn.figures, { checked: 9, lost: 8, stale: 0, deleted: 0, corrupt: 0, inFlight: 0 });
  const ids = ['binary', 'both', 'deleted', 'fresh', 'over', 'state', 'uk.1', 'uk.2'];
  t.deepEqual(await lost(), ids);
  for (const id of ids) t.is(await redis.pttl(copyKey(deployment, id)), -1, `${id} is kept`);
  t.is((await store.get('fresh'))?.content, 'fresh', 'readers have it all the time');
  t.is((await sweepAll(deployment)).figures.lost, 8, 'told as long as nobody acts');
  t.deepEqual(await lost(), ids);

  t.deepEqual(await outcomesOf([...ids, 'same', 'nobody']), [
    ...ids.map((id) => [id, 'restored']),
    ['same', 'agrees'],
    ['nobody', 'gone'],
  ]);
  t.deepEqual(await storedRows(pool), before.rows);
  t.deepEqual(await merkleRoot(pool), before.root);
  await assertAgreement();
  t.deepEqual(await lost(), []);
  for (const id of ids) t.true((await redis.pttl(copyKey(deployment, id))) > 0, `${id} ends again`);
  t.like((await sweepAll(deployment)).figures, { checked: 9, lost: 0, stale: 0, deleted: 0 });
  t.deepEqual(
    (await outcomesOf(ids)).map(([, status]) => status),
    ids.map(() => 'agrees'),
    'restoring it twice changes nothing',
  );
});

test('I4: restoring a lost write never undoes a newer one', async (t) => {
  const { deployment, store, put, lost, parts, outcomesOf, assertAgreement } = await setUp(t);
  const { pool } = deployment;
  const replica = await laggingReplica(deployment);
  for (const id of ['written', 'deleted', 'state', 'raced'])
    await put(id, 'lost', id === 'raced' ? undefined : 'new');
  const raced = await readCopy(deployment, 'raced');
  await replica.failOver();
  await sweepAll(deployment);
  t.is((await lost()).length, 4);
  await put('written', 'newer');
  await (await store.delete('deleted')).settled();
  await (await store.setState('state', 'later')).settled();
  t.deepEqual(await outcomesOf(['written', 'deleted']), [
    ['written', 'agrees'],
    ['deleted', 'agrees'],
  ]);
  // The newer write comes between the look and the statement.
  const racing = beforeTransaction(pool, () => put('raced', 'newest'));
  const shards = new Shards([{ name: 'main', pool: racing, server: '' }], deployment.log);
  const [outcome] = await restoreCopies({ ...parts, shards }, ['raced']);
  t.is(outcome?.status, 'superseded');
  t.is(raced?.body, '"lost"');
  t.is((await store.get('written'))?.content, 'newer');
  t.is(await store.get('deleted'), undefined);
  t.is((await store.get('raced'))?.content, 'newest');
  t.like((await sweepAll(deployment)).figures, { corrupt: 0, stale: 0 });
  await outcomesOf(await lost());
  await assertAgreement();
});

test('I4: a range delete waits for a restore that Postgres holds up, also when the note in Redis is swept', async (t) => {
  const { deployment, store, put, outcomesOf, assertAgreement } = await setUp(t);
  const { pool, redis, keys } = deployment;
  const replica = await laggingReplica(deployment);
  await put('uk.1', 'lost');
  await replica.failOver();
  const client = await pool.connect();
  await client.query('BEGIN');
  // As CREATE INDEX takes it.
  await client.query('LOCK TABLE items IN SHARE MODE');
  const restoring = outcomesOf(['uk.1']);
  await eventually(async () => (await redis.zcard(keys.inflight)) === 1, 'noted');
  await eventually(async () => (await waiting(pool, 'items')) === 1, 'held up');
  t.is(await sweepOrphanedChunks(redis, keys, 0), 1);
  const range = await store.deletePrefix('uk.');
  const settled = range.settled();
  await Promise.race([
    settled,
    eventually(async () => (await waiting(pool, 'range_deletes')) === 1, 'it waits'),
  ]);
  await client.query('COMMIT');
  client.release();
  t.deepEqual(await restoring, [['uk.1', 'restored']]);
  t.like(await settled, { deleted: 1 });
  t.is(await store.countPrefix('uk.'), 0);
  t.is(await store.get('uk.1'), undefined);
  await assertAgreement();
});

test('I4: a restore sees a range delete that ended after its note was swept', async (t) => {
  const { deployment, store, put, parts, assertAgreement } = await setUp(t);
  const { pool, redis, keys } = deployment;
  const replica = await laggingReplica(deployment);
  await put('fr.1', 'lost');
  await put('uk.1', 'lost');
  await replica.failOver();
  const slow = beforeTransaction(pool, async () => {
    t.is(await sweepOrphanedChunks(redis, keys, 0), 1);
    await (await store.deletePrefix('uk.')).settled();
  });
  const shards = new Shards([{ name: 'main', pool: slow, server: '' }], deployment.log);
  t.like(await restoreCopies({ ...parts, shards }, ['fr.1', 'uk.1']), [
    { status: 'restored' },
    { status: 'superseded' },
  ]);
  t.is(await store.get('uk.1'), undefined);
  await assertAgreement();
});

test('I4: a lost write that a later range delete covers does not come back', async (t) => {
  const { deployment, store, put, lost, outcomesOf, assertAgreement } = await setUp(t);
  const { pool } = deployment;
  const replica = await laggingReplica(deployment);
  for (const id of ['uk.1', 'fr.1', 'fr.2']) await put(id, 'lost', id === 'fr.1' ? 'old' : 'new');
  await replica.failOver();
  await sweepAll(deployment);
  t.is((await lost()).length, 3);
  await (await store.deletePrefix('uk.')).settled();
  await (await store.deleteByState('old')).settled();
  t.is((await store.get('uk.1'))?.content, 'lost', 'the range delete knew nothing of it');
  t.deepEqual(await outcomesOf(['uk.1', 'fr.1', 'fr.2']), [
    ['uk.1', 'superseded'],
    ['fr.1', 'superseded'],
    ['fr.2', 'restored'],
  ]);
  t.is(await store.get('uk.1'), undefined);
  await assertAgreement();

  // The sweep by itself.
  await put('uk.2', 'lost');
  await pool.query(`DELETE FROM items WHERE id = 'uk.2'`);
  const copy = await readCopy(deployment, 'uk.2');
  await (await store.deletePrefix('uk.')).settled();
  if (copy !== undefined) await plantCopy(deployment, copy);
  t.like((await sweepAll(deployment)).figures, { deleted: 1, lost: 0 });
  t.is(await store.get('uk.2'), undefined);
});

test('a restore waits its turn: not while a range delete is at work', async (t) => {
  const { deployment, put, lost, outcomesOf } = await setUp(t);
  const { redis, keys, pool } = deployment;
  const replica = await laggingReplica(deployment);
  const version = await put('a', 'lost');
  await replica.failOver();
  await sweepAll(deployment);
  await redis.zadd(keys.ranges, version + 1, 'range');
  t.deepEqual(await outcomesOf(['a']), [['a', 'busy']]);
  t.deepEqual(await lost(), ['a']);
  t.deepEqual(await storedRows(pool), []);
  await redis.zrem(keys.ranges, 'range');
  t.deepEqual(await outcomesOf(['a']), [['a', 'restored']]);
});

test('I9: what cannot be restored is told and stays on the list, and the others are restored', async (t) => {
  const { deployment, store, put, parts, lost } = await setUp(t);
  const { pool, redis, keys, config } = deployment;
  const replica = await laggingReplica(deployment);
  await put('sound', 'sound');
  await put('poison', 'poison');
  await (await store.submit({ id: 'durable', content: 'x' }, { tiers: 'durable' })).settled();
  await replica.failOver();
  await refusePoison(pool);
  const copy = await readCopy(deployment, 'sound');
  if (copy === undefined) throw new Error('no copy');
  const contentVersion = (Date.now() - 0.95 * config.purgeAfterMs) * 1000;
  await plantCopy(deployment, restamped(copy, { id: 'ancient', contentVersion }));
  await sweepAll(deployment);
  t.deepEqual(await lost(), ['ancient', 'durable', 'poison', 'sound']);

  const outcomes = await restoreCopies(parts, await lost());
  t.deepEqual(
    outcomes.map(({ id, status }) => [id, status]),
    [
      ['ancient', 'refused'],
      ['durable', 'refused'],
      ['poison', 'refused'],
      ['sound', 'restored'],
    ],
  );
  t.regex(outcomes[0]?.reason ?? '', /purge horizon/);
  t.regex(outcomes[1]?.reason ?? '', /never in L2/);
  t.regex(outcomes[2]?.reason ?? '', /no poison/);
  t.deepEqual(await lost(), ['ancient', 'durable', 'poison']);
  t.is((await store.get('sound'))?.content, 'sound');

  // Given up: Postgres is right.
  const discarded = await discardCopies(parts, await lost());
  t.deepEqual(
    discarded.map(({ status }) => status),
    ['discarded', 'discarded', 'discarded'],
  );
  t.deepEqual(await store.getMany(['ancient', 'durable', 'poison']), [undefined, undefined, undefined]);
  t.is(await countLost(redis, keys), 0);
  t.is((await sweepAll(deployment)).figures.lost, 0);
});
