import test, { type ExecutionContext } from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { hashContent } from '../../src/merkle/digest.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { countLost, readTurns, saveTurn } from '../../src/redis/copies.ts';
import { openStore } from '../../src/store/open-store.ts';
import { copyKey, plantCopy, readCopy, restamped, sweepAll, sweepOf } from '../helpers/copies.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { asCopy, storedCopies, storedRows } from '../helpers/stored-rows.ts';
import { closing } from '../helpers/setting.ts';
import { getAll } from '../../src/redis/masters.ts';
import { countExisting } from '../helpers/redis-keys.ts';

async function setUp(t: ExecutionContext) {
  const deployment = closing(t, await createDeployment(ONE_LANE));
  const { options, pool } = deployment;
  const store = closing(t, await openStore({ ...options, l1MaxBytes: 0 }));
  const drain = closing(t, await startDrain(options));
  const put = async (id: string, content: string, state?: string) => {
    const ticket = await store.submit({ id, content, ...(state === undefined ? {} : { state }) });
    await ticket.settled();
    return ticket.version;
  };
  const copyOf = async (id: string) => {
    const copy = await readCopy(deployment, id);
    if (copy === undefined) throw new Error(`L2 has no copy of ${id}`);
    return copy;
  };
  /** Every row has its copy, and nothing else is there. */
  const assertAgreement = async () => {
    const rows = await storedRows(pool);
    t.deepEqual(await storedCopies(deployment, rows), rows.map(asCopy));
    t.deepEqual((await verifyMerkle(pool)).differences, []);
  };
  return { deployment, store, drain, put, copyOf, assertAgreement };
}

test('I4 I6: a copy that is older than its row is replaced by the row', async (t) => {
  const { deployment, store, put, copyOf, assertAgreement } = await setUp(t);
  await put('content', 'old');
  await put('state', 'kept', 'first');
  await put('sound', 'sound');
  const old = [await copyOf('content'), await copyOf('state')];
  await put('content', 'new');
  await (await store.setState('state', 'second')).settled();
  for (const copy of old) await plantCopy(deployment, copy);
  t.is((await store.get('content'))?.content, 'old', 'what readers get without the sweep');

  const { figures } = await sweepAll(deployment);
  t.like(figures, { checked: 3, stale: 2, corrupt: 0, deleted: 0, lost: 0, inFlight: 0 });
  t.is((await store.get('content'))?.content, 'new');
  t.is((await store.get('state'))?.state, 'second');
  await assertAgreement();
  t.like((await sweepAll(deployment)).figures, { checked: 3, stale: 0 });
});

test('I4: a copy of a deleted row is replaced by the tombstone, and dropped when the tombstone is purged', async (t) => {
  const { deployment, store, put, copyOf, assertAgreement } = await setUp(t);
  const { pool, redis } = deployment;
  await put('gone', 'x');
  const gone = await copyOf('gone');
  await (await store.delete('gone')).settled();
  await plantCopy(deployment, gone);
  // A copy without an end, of an item that was deleted and purged long ago.
  const contentVersion = (Date.now() - deployment.config.purgeAfterMs - 60_000) * 1000;
  await plantCopy(deployment, restamped(gone, { id: 'purged', contentVersion }));
  t.is((await store.get('gone'))?.content, 'x');
  t.is((await store.get('purged'))?.content, 'x');

  t.like((await sweepAll(deployment)).figures, { checked: 2, deleted: 2, stale: 0, lost: 0 });
  t.is(await store.get('gone'), undefined);
  t.false(await store.contains('gone'));
  t.is(await store.get('purged'), undefined);
  t.is(await redis.exists(copyKey(deployment, 'purged')), 0);
  t.is((await pool.query('SELECT id FROM items')).rows.length, 1);
  t.true((await redis.pttl(copyKey(deployment, 'gone'))) > 0, 'the tombstone ends by itself');
  await assertAgreement();
});

test('I8: a corrupt copy is found by hashing and replaced, whichever part of it is wrong', async (t) => {
  const { deployment, store, put, copyOf, assertAgreement } = await setUp(t);
  const { redis } = deployment;
  const ids = [
    'body',
    'digest',
    'hash',
    'state',
    'stamp',
    'high',
    'text',
    'type',
    'tombstone',
    'binary',
    'kept',
    'twin',
  ];
  for (const id of ids) await put(id, `content of ${id}`, 'new');
  await (await store.delete('tombstone')).settled();
  await (await store.submit({ id: 'binary', content: new Uint8Array([1, 2, 3]) })).settled();
  const change = async (id: string, from: string | RegExp, to: string) => {
    const value = (await redis.get(copyKey(deployment, id))) ?? '';
    t.not(value.replace(from, to), value);
    await redis.set(copyKey(deployment, id), value.replace(from, to));
  };
  const { digest, contentHash } = await copyOf('hash');
  await change('body', 'content of', 'contents of');
  await change('digest', (await copyOf('digest')).digest, digest);
  await change('hash', contentHash, hashContent('another'));
  await change('state', '03new', '03old');
  await change('stamp', /\d{16}/, '0000000000000007');
  // Looks newer than any row, and is no lost write.
  await change('high', /\d{16}/, '9000000000000000');
  await redis.set(copyKey(deployment, 'text'), 'not ours');
  await redis.del(copyKey(deployment, 'type'));
  await redis.hset(copyKey(deployment, 'type'), 'a', 'hash');
  await change('tombstone', /$/, '"content"');
  await change('binary', /AQID$/, 'AQIE');

  // Whole in itself, but another content under the row's stamp.
  const { id, kind, contentVersion, stateVersion, tiers, state } = await copyOf('twin');
  const body = '"another"';
  const twin = { id, kind, contentVersion, stateVersion, tiers, state, digest: '', body };
  await plantCopy(deployment, restamped({ ...twin, contentHash: hashContent(body) }, {}));

  const { figures } = await sweepAll(deployment);
  t.like(figures, { checked: 12, corrupt: 11, stale: 0, deleted: 0, lost: 0 });
  await assertAgreement();
  t.like((await sweepAll(deployment)).figures, { checked: 12, corrupt: 0 });
  t.is(await countLost(redis, deployment.keys), 0);
});

test('keys of others are left alone, whatever their names begin with', async (t) => {
  const { deployment, put } = await setUp(t);
  const { redis, config } = deployment;
  await put('a', 'x');
  const { namespace } = config;
  const foreign = [
    `${namespace}:item:mine`,
    `${namespace}:item:{x}:a`,
    `${namespace}:items:{1}:a`,
    `${namespace}:note`,
  ];
  for (const key of foreign) await redis.set(key, 'theirs');
  const list = `${namespace}:item:{7}`;
  await redis.lpush(list, 'theirs');
  t.like((await sweepAll(deployment)).figures, { checked: 1, corrupt: 0, outdated: 0 });
  t.deepEqual(
    await getAll(redis, foreign),
    foreign.map(() => 'theirs'),
  );
  t.is(await redis.llen(list), 1);
});

test('copies that were written to L2 only stay, unless their row is newer', async (t) => {
  const { deployment, store, put, copyOf } = await setUp(t);
  await (await store.submit({ id: 'alone', content: 'cached' }, { tiers: 'cache' })).settled();
  await put('over', 'stored');
  await (await store.submit({ id: 'over', content: 'cached' }, { tiers: 'cache' })).settled();
  await (await store.submit({ id: 'under', content: 'cached' }, { tiers: 'cache' })).settled();
  const under = await copyOf('under');
  await put('under', 'stored');
  await plantCopy(deployment, under);
  await (await store.submit({ id: 'fence', content: 'durable' }, { tiers: 'durable' })).settled();

  t.like((await sweepAll(deployment)).figures, { checked: 4, stale: 1, corrupt: 0, lost: 0 });
  t.deepEqual(
    (await store.getMany(['alone', 'over', 'under', 'fence'])).map((item) => item?.content),
    ['cached', 'cached', 'stored', 'durable'],
  );
});

test('a write on its way is no finding: its copy is looked at again in the next turn', async (t) => {
  const { deployment, put, copyOf, assertAgreement } = await setUp(t);
  const { redis, keys } = deployment;
  const version = await put('a', 'old');
  const copy = await copyOf('a');
  const contentVersion = copy.contentVersion + 1;
  await plantCopy(deployment, restamped(copy, { contentVersion }));
  await redis.hset(keys.pending, 'a', contentVersion);
  t.like((await sweepAll(deployment)).figures, { checked: 1, inFlight: 1, lost: 0 });
  t.is(await countLost(redis, keys), 0);
  t.is((await copyOf('a')).contentVersion, contentVersion, 'left alone');

  // A range delete at work names no ids.
  await redis.hdel(keys.pending, 'a');
  await redis.zadd(keys.ranges, version + 9, 'range');
  t.like((await sweepAll(deployment)).figures, { inFlight: 1, lost: 0 });
  await redis.zrem(keys.ranges, 'range');

  t.like((await sweepAll(deployment)).figures, { inFlight: 0, lost: 1 });
  t.is(await countLost(redis, keys), 1);
  await redis.del(copyKey(deployment, 'a'));
  t.like((await sweepAll(deployment)).figures, { checked: 0, lost: 0 });
  t.is(await countLost(redis, keys), 0, 'the alarm goes down at the next turn');
  await put('a', 'new');
  await assertAgreement();
});

test('a turn is cut into steps, goes on where it stood after a restart, and sees every copy', async (t) => {
  const { deployment, store, copyOf } = await setUp(t);
  const { redis, keys } = deployment;
  const count = 3000;
  const items = Array.from({ length: count }, (_, i) => ({ id: `many.${i}`, content: i }));
  await (await store.submitMany(items)).settled();
  const before = await copyOf('many.7');
  await (await store.submit({ id: 'many.7', content: 'new' })).settled();
  await plantCopy(deployment, before);

  const share = { copySweepPercent: 1 };
  const number = await sweepOf(deployment, share).begin();
  let steps = 0;
  let seen = 0;
  for (;;) {
    steps++;
    // Each step in a process of its own.
    const done = await sweepOf(deployment, share).hurry(number);
    const { current, last } = await readTurns(redis, keys);
    const checked = (current ?? last)?.figures.checked ?? 0;
    t.true(checked >= seen);
    seen = checked;
    if (!('restMs' in done)) {
      t.is(done.number, number);
      t.true(done.figures.checked >= count);
      t.is(done.figures.stale, 1);
      break;
    }
    t.true(done.restMs > 0, 'it rests after its share of the time');
  }
  t.true(steps > 2, `${steps} steps`);
  t.is((await store.get('many.7'))?.content, 'new');
});

test('a walk whose cursor came from another cache server begins anew', async (t) => {
  const { deployment, store } = await setUp(t);
  const { redis, keys } = deployment;
  const count = 1000;
  const items = Array.from({ length: count }, (_, i) => ({ id: `many.${i}`, content: i }));
  await (await store.submitMany(items)).settled();
  const number = await sweepOf(deployment).begin();
  const { current } = await readTurns(redis, keys);
  if (current === undefined) throw new Error('no turn');
  // Half of the key table lies behind this cursor.
  await saveTurn(redis, keys, { ...current, cursor: '1', generation: 'another' });
  for (;;) {
    const done = await sweepOf(deployment, { copySweepPercent: 50 }).hurry(number);
    if ('restMs' in done) continue;
    t.true(done.figures.checked >= count, `${done.figures.checked} copies`);
    break;
  }
});

test('the chore keeps its pace: a turn in the configured time, and nothing before the next is due', async (t) => {
  const { deployment, put } = await setUp(t);
  const { redis, keys } = deployment;
  await put('a', 'x');
  const turns = () => readTurns(redis, keys);
  const short = { copySweepMs: 1000 };
  await eventually(async () => {
    await sweepOf(deployment, short).step();
    return (await turns()).last !== undefined;
  }, 'the first turn has ended');
  const before = await turns();
  await sweepOf(deployment).step();
  t.deepEqual(await turns(), before);

  await eventually(async () => {
    await sweepOf(deployment, short).step();
    return ((await turns()).last?.number ?? 0) > 1;
  }, 'the next turn has ended');
});

test('I6: copies of older generations are dropped, those of newer ones and what looks like one are not', async (t) => {
  const { deployment, put, assertAgreement } = await setUp(t);
  const { redis, keys, generation } = deployment;
  await put('a', 'x');
  const now = generation.session?.copies.generation ?? '';
  const value = (await redis.get(copyKey(deployment, 'a'))) ?? '';
  const keyOf = (of: string) => keys.copies(of).item('a');
  const moved = (by: number) => (Number.parseInt(now, 36) + by).toString(36);
  const older = [keyOf(moved(-1)), keyOf('17')];
  const others = [keyOf(moved(1)), keyOf('THEIRS')];
  for (const key of [...older, ...others]) await redis.set(key, value);
  t.like((await sweepAll(deployment)).figures, { checked: 1, outdated: 2, stale: 0 });
  t.is(await countExisting(redis, older), 0);
  t.is(await countExisting(redis, others), 2);
  await assertAgreement();
});
