import { randomUUID } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { RangeDelete } from '../../src/drain/range-delete.ts';
import { Shards } from '../../src/postgres/shards.ts';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import type { Pool } from '../../src/postgres/pool.ts';
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
    async deleteRange(job: RangeJob, { pool = deployment.pool, meanwhile = async () => {} } = {}) {
      done.push(job);
      const partition = new Shards([{ name: 'main', pool, server: '' }], deployment.log).rowsOf(0);
      const range = new RangeDelete({ ...writerPartsOf(deployment), partition });
      let once: (() => Promise<unknown>) | undefined = meanwhile;
      return range.run(randomUUID(), { ...job, hashes: undefined }, async () => {
        const work = once;
        once = undefined;
        await work?.();
      });
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

/** The pool itself, but for one transaction with a statement in it: that is committed, and nobody is told. */
function losingFirstCommit(pool: Pool): Pool {
  let lost = false;
  const connect = async () => {
    const connection = await pool.connect();
    let wrote = false;
    return new Proxy(connection, {
      get(target, name) {
        const value = Reflect.get(target, name, target) as unknown;
        if (typeof value !== 'function') return value;
        if (name !== 'query') return value.bind(target) as unknown;
        return async (query: unknown, values?: unknown[]) => {
          const reply = (await target.query(query as string, values)) as unknown;
          wrote ||= (query as { name?: string }).name === 'tierline-overwrite';
          if (query === 'COMMIT' && wrote && !lost) {
            lost = true;
            throw new Error('connection terminated');
          }
          return reply;
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
