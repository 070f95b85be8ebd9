import test from 'ava';
import { startDrain } from '../../src/drain/start-drain.ts';
import { foldDeltas } from '../../src/postgres/merkle-delta.ts';
import { merkleChildren } from '../../src/postgres/merkle-nodes.ts';
import { VERIFY_STEPS, verifyMerkle, verifyStep } from '../../src/postgres/merkle-verify.ts';
import type { Pool } from '../../src/postgres/pool.ts';
import { openStore } from '../../src/store/open-store.ts';
import { createDeployment, type Deployment, ONE_LANE } from '../helpers/deployment.ts';

let deployment: Deployment;
test.before(async () => {
  deployment = await createDeployment(ONE_LANE);
  await using store = await openStore(deployment.options);
  await using _drain = await startDrain(deployment.options);
  const items = Array.from({ length: 2000 }, (_, i) => ({
    id: `${['uk', 'fr', 'de'][i % 3]}.${i % 7}.${i}`,
    content: i,
  }));
  await (await store.submitMany(items)).settled();
  await foldDeltas(deployment.pool);
  await (await store.deleteMany(items.slice(0, 100).map(({ id }) => id))).settled();
  await (await store.submit({ id: 'zz.waiting.1', content: 1 })).settled();
});
test.after.always(() => deployment.close());

function byNode(a: { kind: string; node: string }, b: { kind: string; node: string }): number {
  return `${a.kind}${a.node}` < `${b.kind}${b.node}` ? -1 : 1;
}

async function allSteps(pool: Pool) {
  const steps = [];
  for (let step = 0; step < VERIFY_STEPS; step++) steps.push(await verifyStep(pool, step));
  return {
    rows: steps.reduce((sum, { rows }) => sum + rows, 0),
    differences: steps.flatMap(({ differences }) => differences),
  };
}

test.serial(
  'I5: all steps together compare every row, tombstones included, and find the tree true',
  async (t) => {
    t.deepEqual(await allSteps(deployment.pool), { rows: 2001, differences: [] });
  },
);

for (const [damage, sql] of [
  [
    'a changed live row',
    `UPDATE items SET digest_hi = digest_hi # 1 WHERE id = (SELECT id FROM items WHERE NOT deleted LIMIT 1)`,
  ],
  ['a lost tombstone', `DELETE FROM items WHERE id = (SELECT id FROM items WHERE deleted LIMIT 1)`],
  ['a live row nobody told the tree of', `DELETE FROM merkle_delta WHERE root_count > 0`],
  [
    'a changed leaf',
    `UPDATE merkle_leaf SET item_count = item_count + 1 WHERE leaf = (SELECT min(leaf) FROM merkle_leaf)`,
  ],
  ['a changed prefix', `UPDATE merkle_path SET digest_lo = digest_lo # 1 WHERE path = 'uk.3'`],
  [
    'a prefix of nothing',
    `INSERT INTO merkle_path (path, parent, item_count, digest_hi, digest_lo) VALUES ('nobody', '', 1, 2, 3)`,
  ],
  ['a prefix under another parent', `UPDATE merkle_path SET parent = 'fr' WHERE path = 'uk.3'`],
  ['a prefix without a parent', `UPDATE merkle_path SET parent = NULL WHERE path = 'uk'`],
  ['a root with a parent', `UPDATE merkle_path SET parent = '' WHERE path = ''`],
  [
    'a batch that moves the root alone',
    `INSERT INTO merkle_delta (root_count, root_digest_hi, root_digest_lo, leaves, leaf_counts, leaf_digests_hi, leaf_digests_lo,
       parents, parent_counts, parent_digests_hi, parent_digests_lo)
     VALUES (5, 6, 7, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')`,
  ],
  [
    'a batch that moves the digest of the root alone',
    `UPDATE merkle_delta SET root_digest_hi = root_digest_hi # 1 WHERE root_count > 0`,
  ],
  [
    'a batch of leaves without prefixes',
    `UPDATE merkle_delta SET root_count = 0, root_digest_hi = 0, root_digest_lo = 0,
       parents = '{}', parent_counts = '{}', parent_digests_hi = '{}', parent_digests_lo = '{}' WHERE root_count > 0`,
  ],
] as const) {
  test.serial(`steps find ${damage}, and the same as the one statement finds`, async (t) => {
    const client = await deployment.pool.connect();
    try {
      await client.query('BEGIN');
      await client.query(sql);
      const { differences } = await allSteps(client as unknown as Pool);
      t.true(differences.length > 0);
      t.deepEqual(
        differences.toSorted(byNode),
        [...(await verifyMerkle(client)).differences].toSorted(byNode),
      );
    } finally {
      await client.query('ROLLBACK');
      client.release();
    }
  });
}

test.serial('children of a prefix are counted with what waits, and paged in byte order', async (t) => {
  const { pool } = deployment;
  const { children, next } = await merkleChildren(pool, '', '', 50);
  t.deepEqual(
    children.map(({ path }) => path),
    ['de', 'fr', 'uk', 'zz'],
  );
  t.is(next, undefined);
  const { rows } = await pool.query<{ n: number }>(
    `SELECT count(*) AS n FROM items WHERE NOT deleted AND id LIKE 'uk.%'`,
  );
  t.is(children.find(({ path }) => path === 'uk')?.count, rows[0]?.n);

  const paged: string[] = [];
  for (let after: string | undefined = ''; after !== undefined; ) {
    const part = await merkleChildren(pool, 'uk', after, 3);
    paged.push(...part.children.map(({ path }) => path));
    after = part.next;
  }
  t.deepEqual(
    paged,
    [0, 1, 2, 3, 4, 5, 6].map((n) => `uk.${n}`),
  );
  t.deepEqual(
    (await merkleChildren(pool, 'zz', '', 50)).children.map(({ path }) => path),
    ['zz.waiting'],
  );
  t.deepEqual(await merkleChildren(pool, 'nowhere', '', 50), { children: [], next: undefined });
});
