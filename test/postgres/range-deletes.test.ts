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
