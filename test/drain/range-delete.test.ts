import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { RangeDelete, type RangeEnd } from '../../src/drain/range-delete.ts';
import { Shards } from '../../src/postgres/shards.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import type { Pool, Queryable } from '../../src/postgres/pool.ts';
import { purgeRanges } from '../../src/postgres/range-deletes.ts';
import type { RangeJob } from '../../src/schema/job.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { modelRows } from '../helpers/model.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { expandRanges, type MixedOp } from '../helpers/range-model.ts';
import { asCopy, storedCopies, storedRows } from '../helpers/stored-rows.ts';
import { writerOf, writerPartsOf } from '../helpers/writer.ts';

/** Writes as batches of one, and range deletes on a pool of the test's choice; `ends` compares with the model. */
async function setUp(t: ExecutionContext) {
  const deployment = await createDeployment(ONE_LANE);
  t.teardown(() => deployment.close());
  const writer = writerOf(deployment);
  const done: MixedOp[] = [];
  return {
    deployment,
    async write(op: TestOp) {
      done.push(op);
      await writer.write([chunkOf([op])]);
    },
    async deleteRange(
      job: RangeJob,
      { pool = deployment.pool, rangeId = randomUUID(), meanwhile = async () => {} } = {},
    ) {
      done.push(job);
      const partition = new Shards([{ name: 'main', pool, server: '' }], deployment.log).rowsOf(0);
      const range = new RangeDelete({ ...writerPartsOf(deployment), partition });
      let once: (() => Promise<unknown>) | undefined = meanwhile;
      return range.run(rangeId, { ...job, hashes: undefined }, async () => {
        const work = once;
        once = undefined;
        await work?.();
      });
    },
    /** Runs deletes of prefixes together, in this order. */
    deletePrefixes(prefixes: readonly string[]) {
      const jobs = prefixes.map((value, i) => ({ v: 1, kind: 'prefix', value, stamp: 30 + i }) as const);
      return new RangeDelete(writerPartsOf(deployment)).runAll(
        jobs.map((job) => ({
          rangeId: randomUUID(),
          job: { ...job, hashes: undefined },
          report: async () => undefined,
        })),
      );
    },
    async ends() {
      const { pool } = deployment;
      const rows = modelRows(expandRanges(done));
      t.deepEqual(await storedRows(pool), rows);
      t.deepEqual(await storedCopies(deployment, rows), rows.map(asCopy));
      t.deepEqual((await verifyMerkle(pool)).differences, []);
    },
  };
}

test('I2: what comes to life between the walks of a range delete by state is reached', async (t) => {
  const { write, deleteRange, ends } = await setUp(t);
  await write({ id: 'a', stamp: 10, kind: 'state', state: 'open' });
  await write({ id: 'b', stamp: 20, kind: 'json', body: '1', state: 'open' });
  await deleteRange(
    { v: 1, kind: 'state', value: 'open', stamp: 30 },
    { meanwhile: () => write({ id: 'a', stamp: 40, kind: 'json', body: '2' }) },
  );
  await ends();
});

test('I2: what comes to life behind a range delete by prefix is as if it had come after', async (t) => {
  const { write, deleteRange, ends } = await setUp(t);
  await write({ id: 'p.a', stamp: 10, kind: 'delete' });
  await write({ id: 'p.b', stamp: 20, kind: 'json', body: '1' });
  await deleteRange(
    { v: 1, kind: 'prefix', value: 'p.', stamp: 30 },
    { meanwhile: () => write({ id: 'p.a', stamp: 40, kind: 'json', body: '2' }) },
  );
  await ends();
});

test('I3 I6: a COMMIT whose answer was lost is found out: what it deleted is told to L2 and the feed', async (t) => {
  const { deployment, write, deleteRange, ends } = await setUp(t);
  for (const [i, id] of ['p.a', 'p.b'].entries()) {
    await write({ id, stamp: 10 + i, kind: 'json', body: '1' });
  }
  const { redis, keys } = deployment;
  const before = Number(await redis.hget(keys.clock, 'entries'));
  const fate = await deleteRange(
    { v: 1, kind: 'prefix', value: 'p.', stamp: 30 },
    { pool: losingFirstCommit(deployment.pool) },
  );
  t.is(fate, 'done');
  const { rows } = await deployment.pool.query<{ deleted: number }>('SELECT deleted FROM range_deletes');
  t.is(rows[0]?.deleted, 2, 'counted once');
  const entries = await redis.xrange(keys.feed, '-', '+');
  const told = entries.slice(before).flatMap(([, fields]) => {
    const { ids } = JSON.parse(fields[fields.indexOf('changes') + 1] as string) as { ids: string[] };
    return ids;
  });
  t.deepEqual([...new Set(told)], ['p.a', 'p.b']);
  await ends();
});

test('I3: a range delete that Postgres lost in a failover while it was under way is done again', async (t) => {
  const { deployment, write, deleteRange, ends } = await setUp(t);
  for (const [i, id] of ['p.a', 'p.b'].entries()) {
    await write({ id, stamp: 10 + i, kind: 'json', body: '1' });
  }
  const { pool } = deployment;
  const fate = await deleteRange(
    { v: 1, kind: 'prefix', value: 'p.', stamp: 30 },
    { pool: failingOver(pool) },
  );
  t.is(fate, 'done');
  const { rows } = await pool.query<{ deleted: number }>('SELECT deleted FROM range_deletes');
  t.is(rows[0]?.deleted, 2);
  await ends();
});

test('I3: a range delete that another worker has ended, and whose mark was purged, ends', async (t) => {
  const { deployment, write, deleteRange, ends } = await setUp(t);
  await write({ id: 'p.a', stamp: 10, kind: 'json', body: '1' });
  const job = { v: 1, kind: 'prefix', value: 'p.', stamp: 30 } as const;
  const rangeId = randomUUID();
  let purged = 0;
  const fate = await deleteRange(job, {
    rangeId,
    meanwhile: async () => {
      t.is(await deleteRange(job, { rangeId }), 'done');
      purged = await purgeRanges(deployment.pool, job.stamp + 1);
    },
  });
  t.is(purged, 1);
  t.is(fate, 'done');
  await ends();
});

test('I9: range deletes that Postgres refuses end alone among those that run with them', async (t) => {
  const { deployment, write, deletePrefixes } = await setUp(t);
  await deployment.pool.query(
    `ALTER TABLE range_deletes ADD CONSTRAINT not_bad CHECK (value NOT LIKE 'bad.%')`,
  );
  await write({ id: 'p.a', stamp: 10, kind: 'json', body: '1' });
  const ends = await deletePrefixes(['a.', 'bad.1', 'b.', 'bad.2', 'c.', 'p.', 'd.']);
  t.deepEqual(ends.map(nameOf), ['done', 'refused', 'done', 'refused', 'done', 'done', 'earlier']);
});

test('I9: a range delete that Postgres refuses under way takes back nothing of those before it', async (t) => {
  const { deployment, write, deletePrefixes } = await setUp(t);
  // Refuses to record progress.
  await deployment.pool.query(`ALTER TABLE range_deletes ADD CONSTRAINT not_moved CHECK (after_id = '')`);
  await write({ id: 'p.a', stamp: 10, kind: 'json', body: '1' });
  const ends = await deletePrefixes(['a.', 'p.', 'b.']);
  t.deepEqual(ends.map(nameOf), ['done', 'refused', 'earlier']);
});

function nameOf(end: RangeEnd): string {
  return typeof end === 'string' ? end : 'refused';
}

/** A pool whose first transaction that deletes rows is committed, and nobody is told. */
function losingFirstCommit(pool: Pool): Pool {
  return withFirstCommit(pool, async (db) => {
    await db.query('COMMIT');
    throw new Error('connection terminated');
  });
}

/**
 * A pool whose first transaction that deletes rows is answered, and lost in a failover to a replica. The replica lagged: it has
 * not seen that the range delete began.
 */
function failingOver(pool: Pool): Pool {
  return withFirstCommit(pool, async (db) => {
    await db.query('ROLLBACK');
    await db.query('DELETE FROM range_deletes');
  });
}

/** The pool itself, but for the first transaction that deletes rows: `commit` ends it. */
function withFirstCommit(pool: Pool, commit: (db: Queryable) => Promise<void>): Pool {
  let isFirst = true;
  const connect = async () => {
    const connection = await pool.connect();
    let wrote = false;
    return new Proxy(connection, {
      get(target, name) {
        const value = Reflect.get(target, name, target) as unknown;
        if (typeof value !== 'function') return value;
        if (name !== 'query') return value.bind(target) as unknown;
        return async (query: unknown, values?: unknown[]) => {
          wrote ||= (query as { name?: string }).name === 'tierline-overwrite';
          if (query === 'COMMIT' && wrote && isFirst) {
            isFirst = false;
            return commit(target);
          }
          return (await target.query(query as string, values)) as unknown;
        };
      },
    });
  };
  return new Proxy(pool, {
    get(target, name) {
      if (name === 'connect') return connect;
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
