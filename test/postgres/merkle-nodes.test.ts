import test from 'ava';
import { leafItems } from '../../src/postgres/merkle-nodes.ts';
import type { Queryable } from '../../src/postgres/pool.ts';
import { chunkOf, type TestOp } from '../helpers/operations.ts';
import { createSetting } from '../helpers/setting.ts';
import { writerOf } from '../helpers/writer.ts';

test('the rows of leaves are looked up in the index also in a table that was never analysed', async (t) => {
  const { deployment } = await createSetting(t, { partitions: 1 });
  const { pool } = deployment;
  await pool.query('ALTER TABLE items SET (autovacuum_enabled = false)');
  const ops = Array.from(
    { length: 3000 },
    (_, i): TestOp => ({ id: `id.${i}`, stamp: 1000 + i, kind: 'json', body: '1' }),
  );
  await writerOf(deployment).write([chunkOf(ops)]);
  const leaves = Array.from({ length: 65_536 }, (_, leaf) => leaf);
  t.is((await leafItems(pool, leaves)).length, ops.length);

  const plans: string[] = [];
  const explaining = {
    async query(text: string, values: unknown[]) {
      const { rows } = await pool.query<Record<string, string>>(`EXPLAIN ${text}`, values);
      plans.push(...rows.flatMap((row) => Object.values(row)));
      return { rows: [] };
    },
  } as unknown as Queryable;
  await leafItems(explaining, leaves.slice(0, 1000));
  const plan = plans.join('\n');
  t.regex(plan, /Index Cond: .*id_hash >= .*id_hash <= /);
  t.notRegex(plan, /Join Filter/);
});
