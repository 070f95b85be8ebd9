import assert from 'node:assert/strict';
import test from 'ava';
import * as fc from 'fast-check';
import { verifyMerkle } from '../../src/postgres/merkle-verify.ts';
import { openReader } from '../../src/read/open-reader.ts';
import { createDeployment, ONE_LANE } from '../helpers/deployment.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { storedRows } from '../helpers/stored-rows.ts';
import { writerOf } from '../helpers/writer.ts';

const RUNS = 60;
const DELETED_AT = 1_795_000_000_001_000;

const deployment = await createDeployment(ONE_LANE);
const reader = await openReader(deployment.options);
test.after.always(async () => {
  await reader.close();
  await deployment.close();
});

/** What may still be on its way, or come a second time, when an id has been deleted: anything older, and newer states. */
const older = fc.integer({ min: 1, max: 999 }).map((age) => DELETED_AT - age);
const state = fc.constantFrom('default', 'open');
const late = fc.oneof(
  fc.record({ kind: fc.constant('json' as const), stamp: older, body: fc.json() }),
  fc.record({ kind: fc.constant('json' as const), stamp: older, body: fc.json(), state }),
  fc.record({ kind: fc.constant('binary' as const), stamp: older, body: fc.constant('AAEC') }),
  fc.record({ kind: fc.constant('delete' as const), stamp: older }),
  fc.record({ kind: fc.constant('state' as const), stamp: older, state }),
  fc.record({
    kind: fc.constant('state' as const),
    stamp: older.map((stamp) => 2 * DELETED_AT - stamp),
    state,
  }),
);
const step = fc.oneof(
  { weight: 6, arbitrary: late },
  // The copies may be evicted or expire, and readers may look, at any moment between.
  { weight: 1, arbitrary: fc.constant('evict' as const) },
  { weight: 1, arbitrary: fc.constant('read' as const) },
);

let count = 0;

test('I4: a deleted id stays deleted under late, retried and replayed older writes, in L2, in L3 and for readers', async (t) => {
  const property = fc.asyncProperty(
    fc.array(late, { maxLength: 4 }),
    fc.array(step, { minLength: 1, maxLength: 12 }),
    async (before, after) => {
      const id = `gone.${++count}`;
      const seen = new Set<number>();
      // A stamp belongs to one write, which may arrive any number of times.
      const own = before
        .filter(({ stamp }) => !seen.has(stamp) && seen.add(stamp))
        .map((write): TestOp => ({ ...write, id }));
      for (const op of own) await apply(op);
      await apply({ kind: 'delete', id, stamp: DELETED_AT });
      await assertGone(id);
      for (const next of after) {
        if (next === 'evict') await deployment.redis.del(deployment.keys.item(id));
        else if (next === 'read') await reader.get(id);
        else await apply(own.find((op) => op.stamp === next.stamp) ?? { ...next, id });
        await assertGone(id);
      }
    },
  );
  await fc.assert(property, { numRuns: RUNS, endOnFailure: true });
  const rows = await storedRows(deployment.pool);
  t.is(rows.filter((row) => !row.deleted).length, 0);
  t.deepEqual((await verifyMerkle(deployment.pool)).differences, []);
});

async function apply(op: TestOp): Promise<void> {
  await writerOf(deployment).write([chunkOf([op])]);
}

async function assertGone(id: string): Promise<void> {
  const { redis, keys, pool } = deployment;
  const copy = await redis.get(keys.item(id));
  assert.ok(copy === null || copy[1] === 'd', `L2 has ${copy}`);
  const { rows } = await pool.query<{ deleted: boolean }>('SELECT deleted FROM items WHERE id = $1', [id]);
  assert.deepEqual(rows, [{ deleted: true }]);
  assert.equal(await reader.get(id), undefined);
}
