import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { keyHash } from '../../src/merkle/digest.ts';
import { applyRows } from '../../src/postgres/apply-batch.ts';
import {
  type LaneRange,
  nextRangeIds,
  overwriteRows,
  overwrittenIds,
  purgeRanges,
  rangeCover,
} from '../../src/postgres/range-deletes.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { json, rowsOf, state, type TestOp } from '../helpers/operations.ts';
import { closing } from '../helpers/setting.ts';

/** Stamp of the range deletes. */
const AT = 30;

const gone = (id: string, stamp: number): TestOp => ({ id, stamp, kind: 'delete' });

/** Stores rows, and tells which of them a range delete has to change in one of its walks. */
async function setUp(t: ExecutionContext, ...ops: readonly TestOp[]) {
  const { pool } = closing(t, await createDeployment(ONE_LANE));
  await applyRows(pool, rowsOf(ops), randomUUID());
  return (
    range: Pick<LaneRange, 'kind' | 'value'>,
    phase: 'dead' | 'live' = 'live',
    hashes?: LaneRange['hashes'],
  ) => nextRangeIds(pool, { v: 1, stamp: AT, ...range, hashes }, { phase, afterId: '' }, 100);
}

test('I2: a range delete changes the registers that are older than it, and of its own stamp those that a delete wins over', async (t) => {
  const idsOf = await setUp(
    t,
    json('p.older', 10),
    gone('p.older tombstone', 20),
    json('p.equal', AT),
    gone('p.equal tombstone', AT),
    json('p.newer', 40),
    json('p.smaller state', 40),
    state('p.smaller state', AT, 'a'),
    json('p.larger state', 40),
    state('p.larger state', AT, 'open'),
    state('p.newer state alone', 40, 'a'),
  );
  t.deepEqual(await idsOf({ kind: 'prefix', value: 'p.' }), [
    'p.equal',
    'p.older',
    'p.older tombstone',
    'p.smaller state',
  ]);
});

test('a prefix has itself and all that begins with it', async (t) => {
  const idsOf = await setUp(t, json('p', 10), json('p.', 11), json('p.\u{10ffff}', 12), json('p/', 13));
  t.deepEqual(await idsOf({ kind: 'prefix', value: 'p.' }), ['p.', 'p.\u{10ffff}']);
  t.is((await idsOf({ kind: 'prefix', value: '' })).length, 4);
});

test('I2: a state has what was in it before the range delete, tombstones in a walk of their own', async (t) => {
  const idsOf = await setUp(
    t,
    json('in it', 10),
    state('in it', 20, 'open'),
    json('at its stamp', 10),
    state('at its stamp', AT, 'open'),
    json('in another', 10),
    state('in another', 20, 'opened'),
    state('without content', 20, 'open'),
  );
  t.deepEqual(await idsOf({ kind: 'state', value: 'open' }), ['in it']);
  t.deepEqual(await idsOf({ kind: 'state', value: 'open' }, 'dead'), ['without content']);
});

test('the hashes of a partition include the first and the last one', async (t) => {
  const idsOf = await setUp(t, json('p.a', 10));
  const hash = keyHash('p.a');
  const range = { kind: 'prefix', value: 'p.' } as const;
  t.deepEqual(await idsOf(range, 'live', { first: hash, last: hash }), ['p.a']);
  t.deepEqual(await idsOf(range, 'live', { first: hash + 1, last: hash + 2 }), []);
  t.deepEqual(await idsOf(range, 'live', { first: hash - 2, last: hash - 1 }), []);
});

test('I3: what was overwritten and may not have been told is what has its stamp, after the place up to which all was told', async (t) => {
  const { pool } = closing(t, await createDeployment(ONE_LANE));
  const ops = ['a', 'b', 'c', 'd', 'e'].map((id) => json(`p.${id}`, id === 'd' ? 10 : AT));
  await applyRows(pool, rowsOf([...ops, state('p.f', AT)]), randomUUID());
  const range = { v: 1, kind: 'prefix', value: 'p.', stamp: AT, hashes: undefined } as const;
  const place = { phase: 'live', deleted: 0, refused: 0 } as const;
  t.deepEqual(await overwrittenIds(pool, range, { ...place, copiedTo: 'p.b', afterId: 'p.e' }), [
    'p.c',
    'p.e',
  ]);
  t.deepEqual(await overwrittenIds(pool, range, { ...place, copiedTo: 'p.e', afterId: 'p.z' }), ['p.f']);
});

test('what was overwritten: how many live items died, and the rows that are no plain tombstones of the range', async (t) => {
  const { pool } = closing(t, await createDeployment(ONE_LANE));
  const write = (...ops: readonly TestOp[]) => applyRows(pool, rowsOf(ops), randomUUID());
  const overwrite = (...ids: readonly string[]) => {
    const rows = rowsOf(ids.map((id) => gone(id, AT)));
    return overwriteRows(
      pool,
      rows,
      rows.map(({ stateDigest }) => stateDigest),
      AT,
      randomUUID(),
    );
  };
  await write(json('live', 10), gone('dead', 11), json('newer content', 40), state('newer content', 12, 'a'));
  const whole = await overwrite('live', 'dead', 'newer content');
  t.is(whole.died, 1, 'one was a tombstone before, and one lives on');
  t.false(whole.partly);
  t.like(whole.otherwise.get('newer content'), { contentVersion: 40, stateVersion: AT, deleted: false });
  t.false(whole.otherwise.has('live'));
  await write(json('newer', 40), json('live again', 10));
  const part = await overwrite('newer', 'live again');
  t.true(part.partly);
  t.is(part.died, 1);
  t.deepEqual([...part.otherwise.keys()].toSorted(), ['live again', 'newer']);
});

test('finished range deletes are purged once they are old; unfinished ones never', async (t) => {
  const { pool } = closing(t, await createDeployment(ONE_LANE));
  for (const [stamp, phase] of [
    [10, 'done'],
    [11, 'live'],
    [AT, 'done'],
    [40, 'done'],
  ] as const) {
    await pool.query(
      `INSERT INTO range_deletes (range_id, kind, value, stamp, phase, first_hash, last_hash) VALUES ($1, 'prefix', 'p.', $2, $3, 0, 1)`,
      [randomUUID(), stamp, phase],
    );
  }
  t.is(await purgeRanges(pool, AT), 1);
  const { rows } = await pool.query<{ stamp: number }>('SELECT stamp FROM range_deletes ORDER BY stamp');
  t.deepEqual(
    rows.map(({ stamp }) => stamp),
    [11, AT, 40],
  );
});

/** Which answer `rangeCover` gives for a write of id and stamp, that set the state or none. */
async function coverOf(
  t: ExecutionContext,
  range: Pick<LaneRange, 'kind' | 'value'>,
  ...ops: readonly TestOp[]
) {
  const { pool } = closing(t, await createDeployment(ONE_LANE));
  await applyRows(pool, rowsOf(ops), randomUUID());
  const hash = keyHash('p.a');
  const add = (first: number, last: number) =>
    pool.query(
      `INSERT INTO range_deletes (range_id, kind, value, stamp, phase, first_hash, last_hash) VALUES ($1, $2, $3, $4, 'live', $5, $6)`,
      [randomUUID(), range.kind, range.value, AT, first, last],
    );
  await add(hash, hash);
  await add(hash + 1, hash + 2);
  return (stamp: number, state: string | null = null, id = 'p.a') => rangeCover(pool, id, stamp, state);
}

test('I4: a lost write before a range delete of its prefix is covered, one at or after its stamp is not', async (t) => {
  const cover = await coverOf(t, { kind: 'prefix', value: 'p.' });
  t.is(await cover(AT - 1), 'covered');
  t.is(await cover(AT), 'free');
  t.is(await cover(AT + 1), 'free');
  const other = await coverOf(t, { kind: 'prefix', value: 'p.b' });
  t.is(await other(AT - 1), 'free');
});

test('I4: a range delete of a state covers a lost write of an item that was in it then', async (t) => {
  const range = { kind: 'state', value: 'open' } as const;
  const noRow = await coverOf(t, range);
  t.is(await noRow(20, 'open'), 'covered', 'it set the state');
  t.is(await noRow(20, 'closed'), 'free');
  t.is(await noRow(20), 'free', 'it set none, and nobody else did');

  const older = await coverOf(t, range, state('p.a', 10, 'open'));
  t.is(await older(20), 'covered', 'the item had that state');
  t.is(await older(20, 'closed'), 'free', 'the write set another after it');
  t.is(await older(20, 'open'), 'covered');

  const between = await coverOf(t, range, state('p.a', 25, 'closed'));
  t.is(await between(20, 'open'), 'free', 'another state was set after the write');
  t.is(await between(25, 'open'), 'free', 'at its stamp, the row has what won');

  const overwritten = await coverOf(t, range, state('p.a', AT, 'closed'));
  t.is(await overwritten(20, 'closed'), 'covered', 'the range delete itself wrote the state');

  const newer = await coverOf(t, range, state('p.a', AT + 1, 'closed'));
  t.is(await newer(20, 'open'), 'hidden', 'nobody knows the state before');
});

test('I4: an item without a state is in the default state for a range delete', async (t) => {
  const cover = await coverOf(t, { kind: 'state', value: 'default' });
  t.is(await cover(20), 'covered');
  t.is(await cover(20, 'open'), 'free');
});
