import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { foldOps, opsOf } from '../../src/batch/fold.ts';
import { Digester } from '../../src/merkle/digest.ts';
import { type Applied, applyRows } from '../../src/postgres/apply-batch.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { chunkOf, json, rowsOf, state, type TestOp } from '../helpers/operations.ts';
import { closing } from '../helpers/setting.ts';

/** Writes operations as one batch and tells what is said of it. */
async function setUp(t: ExecutionContext): Promise<(...ops: readonly TestOp[]) => Promise<Applied>> {
  const { pool } = closing(t, await createDeployment(ONE_LANE));
  return (...ops) => applyRows(pool, rowsOf(ops), randomUUID());
}

test('of rows that were not there nothing is told', async (t) => {
  const write = await setUp(t);
  const applied = await write(json('a', 10), state('b', 11));
  t.deepEqual(applied, { differing: new Map(), decided: new Map(), allNew: true });
  t.false((await write(json('a', 20), json('c', 21))).allNew);
});

test('rows that are newer, or have a register of another batch, are told as they are now', async (t) => {
  const write = await setUp(t);
  await write(json('newer', 20), state('state', 21), { id: 'deleted', stamp: 22, kind: 'delete' });
  const { differing, decided } = await write(
    json('newer', 10),
    json('state', 30),
    json('deleted', 12),
    json('own', 13),
  );
  t.deepEqual([...differing.keys()].toSorted(), ['deleted', 'newer', 'state']);
  t.deepEqual(decided, new Map());
  t.like(differing.get('newer'), { contentVersion: 20, stateVersion: 0 });
  t.like(differing.get('state'), { contentVersion: 30, stateVersion: 21, state: 'open' });
  t.like(differing.get('deleted'), { contentVersion: 22, deleted: true, contentHash: '' });
});

test('I6: a batch that is written again tells which ties it may have decided before it was cut off', async (t) => {
  const write = await setUp(t);
  await write(json('content', 10), state('state', 11), json('older', 12), state('stub', 13));
  const again = await write(json('content', 10), state('state', 11), json('older', 22), state('stub', 3));
  t.deepEqual([...again.decided.keys()].toSorted(), ['content', 'state']);
  t.like(again.decided.get('content'), { contentVersion: 10, stateVersion: 0, deleted: false });
  t.deepEqual([...again.differing.keys()], ['stub'], 'a state without content that is newer');
});

test('I2: of equal stamps the larger value wins, and readers are told which', async (t) => {
  const write = await setUp(t);
  const bodies = ['"a"', '"b"'];
  await write(json('content', 10, bodies[0]), state('state', 11, 'b'), json('gone', 12));
  const tied = await write(
    json('content', 10, bodies[1]),
    state('state', 11, 'a'),
    { id: 'gone', stamp: 12, kind: 'delete' },
    json('untied', 30),
  );
  t.deepEqual([...tied.decided.keys()].toSorted(), ['content', 'gone', 'state']);
  t.is(tied.decided.get('state')?.state, 'b', 'what was there');
  t.true(tied.decided.get('gone')?.deleted, 'a delete wins over any content');
  const other = await write(json('content', 10, bodies[0]));
  t.is(
    other.decided.get('content')?.contentHash,
    tied.decided.get('content')?.contentHash,
    'whichever came last',
  );
});

test('the columns that few rows use are those of each row', async (t) => {
  const { pool } = closing(t, await createDeployment(ONE_LANE));
  const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const columns = { durable: { tiers: 'd' }, traced: { traces: [trace] }, plain: {} };
  const ops = Object.entries(columns).map(([id, column], i) => {
    const chunk = chunkOf([json(id, 10 + i)]);
    return opsOf({ ...chunk, job: { ...chunk.job, ...column } });
  });
  const stored = async (batch: typeof ops) => {
    await applyRows(pool, foldOps(batch.flat(), new Digester()), randomUUID());
    const { rows } = await pool.query('SELECT id, durable, trace_parent FROM items ORDER BY id');
    await pool.query('TRUNCATE items');
    return rows;
  };
  const durable = { id: 'durable', durable: true, trace_parent: null };
  const plain = { id: 'plain', durable: false, trace_parent: null };
  const traced = { id: 'traced', durable: false, trace_parent: trace };
  t.deepEqual(await stored(ops), [durable, plain, traced]);
  // One alone, as nearly all batches are.
  t.deepEqual(await stored(ops.slice(0, 1)), [durable]);
  t.deepEqual(await stored(ops.slice(1, 2)), [traced]);
  t.deepEqual(await stored(ops.slice(2)), [plain]);
});
