import test from 'ava';
import { SchemaMissingError, TierUnavailableError } from '../../src/errors.ts';
import { failureKind, inTransaction, readL3, sqlState } from '../../src/postgres/pool.ts';
import { createDeployment } from '../helpers/deployment.ts';

const deployment = await createDeployment();
test.after.always(() => deployment.close());

for (const [statement, kind, state] of [
  ['SELECT 1 / 0', 'data', '22012'],
  [`SELECT '{'::json`, 'data', '22P02'],
  [`INSERT INTO items (id) VALUES ('a')`, 'data', '23502'],
  [`DO $$ BEGIN RAISE EXCEPTION 'no'; END $$`, 'data', 'P0001'],
  ['SELECT * FROM no_such_table', 'schema', '42P01'],
  ['SELECT no_such_column FROM items', 'schema', '42703'],
  ['SET LOCAL statement_timeout = 1; SELECT pg_sleep(5)', 'transient', '57014'],
  ['SELECT pg_terminate_backend(pg_backend_pid())', 'transient', '57P01'],
] as const) {
  test(`I9: what a failure means for the writer: ${kind} for ${statement}`, async (t) => {
    const error = await t.throwsAsync(inTransaction(deployment.pool, (db) => db.query(statement)));
    t.is(sqlState(error), state);
    t.is(failureKind(error), kind);
  });
}

test('a broken connection is transient: no data is blamed for it', (t) => {
  const refused = Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
  t.is(failureKind(refused), 'transient');
  t.is(sqlState(refused), undefined);
});

test('I7 I8: a read that failed is an error of its own, with its cause', async (t) => {
  const cause = new Error('gone');
  const error = await t.throwsAsync(
    readL3(() => Promise.reject(cause)),
    { instanceOf: TierUnavailableError },
  );
  t.is(error?.cause, cause);
  await t.throwsAsync(
    readL3(() => deployment.pool.query('SELECT * FROM no_such_table')),
    { instanceOf: SchemaMissingError },
  );
});

test('a transaction whose work throws leaves nothing, and its connection serves the next', async (t) => {
  const { pool } = deployment;
  const insert = `INSERT INTO dead_letters (item_id, stamp, chunk_id, payload, message) VALUES ('a', 1, 'c', '{}', 'm')`;
  for (let i = 0; i < 10; i++) {
    const work = inTransaction(pool, async (db) => {
      await db.query(insert);
      throw new Error('changed my mind');
    });
    await t.throwsAsync(work, { message: 'changed my mind' });
  }
  t.deepEqual((await pool.query('SELECT * FROM dead_letters')).rows, []);
});
